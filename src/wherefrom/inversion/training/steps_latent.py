"""One training step of every method whose aim is the code: the thesis' algorithms, line by line.

Cho: PhD thesis, Concordia University, 2025, Alg. 2 (DLSGAN), Alg. 3 (AEDLSGAN), Alg. 4 (PVDGAN).
Letters as there: z latents, s scale, a_r and a_f adversarial values, z' codes, y features.

Deviation: the baseline's encoder is trained beside its GAN; the thesis trains it afterwards.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wherefrom.inversion import equations as eq
from wherefrom.inversion.config import penalties_of
from wherefrom.inversion.training.training_state import StepInput, TrainingState

Logged = dict[str, Tensor]


def inverting_step(p: TrainingState, given: StepInput) -> Logged:
    """Alg. 2 (DLSGAN); with classes Alg. 3 (AEDLSGAN), lines in brackets.

    MSEGAN is the same with s = 1 (Eq. 15), InfoGAN with s = 1 and Eq. 16.
    """
    c, x, count = p.config, given.x, len(given.x)
    r1, r2 = penalties_of(c)
    # update D*
    z = p.latents(count, given)  # 1 [1]; line 2 [3], x, is given
    s = p.scale()  # 3 [4]
    c_f = _classes_of(p, z, s)  # [2]
    with torch.no_grad():
        fake = p.generate(z * s)
    real, fakes = p.read_pair(x, fake)  # 4, 5 [5, 6]
    l_enc = p.encoder_loss(z, fakes, s)  # 6 [8]
    l_adv = p.critic_loss(p.active(real, given.c), p.active(fakes, c_f))  # 7 [7]
    l_d = eq.weighted_loss(l_adv, l_enc, c.encoder_weight)  # 8 [9]
    p.minimise(l_d + p.penalty(given, (x, given.c, r1), (fake, c_f, r2)), "critic")  # 9 [10]
    v_1 = fakes.code.square()  # 10 [11]
    # update G
    z = p.latents(count, given)  # 11 [12]
    c_f = _classes_of(p, z, s)  # [13]
    fakes = p.read(p.generate(z * s))  # 12 [14]
    l_enc = p.encoder_loss(z, fakes, s)  # 13 [16]
    l_g = p.generator_loss(p.active(fakes, c_f), given)  # 14 [15]
    p.minimise(eq.weighted_loss(l_g, l_enc, c.encoder_weight), "generator")  # 15, 16 [17, 18]
    v_2 = fakes.code.square()  # 17 [19]
    p.trace(v_1, v_2)  # 18 [20]
    return {"critic": l_adv, "generator": l_g, "encoder": l_enc}


def _classes_of(p: TrainingState, z: Tensor, s: Tensor) -> Tensor | None:
    """c_f of Eq. 36; None in Alg. 2."""
    if not p.directions.numel():
        return None
    return eq.fixed_classes(z, s, p.directions)


def separate_step(p: TrainingState, given: StepInput) -> Logged:
    """The baseline of Section 4.2.1: a GAN, and an encoder whose loss does not reach the generator.

    The encoder sees the images that the critic is shown, and learns by Eq. 15.
    """
    c, x, count = p.config, given.x, len(given.x)
    r1, r2 = penalties_of(c)
    # update D
    z = p.latents(count, given)
    with torch.no_grad():
        fake = p.generate(z)
    real, fakes = p.read_pair(x, fake)
    l_adv = p.critic_loss(p.active(real, None), p.active(fakes, None))
    p.minimise(l_adv + p.penalty(given, (x, None, r1), (fake, None, r2)), "critic")
    # update E
    encoded = p.read(fake, p.encoder)
    l_enc = eq.encoder_loss(z, encoded.code)  # Eq. 15
    p.minimise(l_enc, "encoder")
    # update G
    l_g = p.generator_loss(p.active(p.read(p.generate(p.latents(count, given))), None), given)
    p.minimise(l_g, "generator")
    p.trace(encoded.code.square())
    return {"critic": l_adv, "generator": l_g, "encoder": l_enc}


def pvdgan_step(p: TrainingState, given: StepInput) -> Logged:
    """Alg. 4.  z_r and y_r are constants in the update of G, from before the update of D*."""
    c, x, count = p.config, given.x, len(given.x)
    r1, r2 = penalties_of(c)
    b = count // 2
    # update D*
    z = p.latents(count, given)  # 1; line 2, x, is given
    s = p.scale()  # 3
    with torch.no_grad():
        fake = p.generate(z * s)
    real, fakes = p.read_pair(x, fake)  # 4, 5
    l_adv = p.critic_loss(p.active(real, None), p.active(fakes, None))  # 6
    l_enc = p.encoder_loss(z, fakes, s)  # 7
    l_d = eq.weighted_loss(l_adv, l_enc, c.encoder_weight)  # 8
    p.minimise(l_d + p.penalty(given, (x, None, r1), (fake, None, r2)), "critic")  # 9
    v_1 = fakes.code.square()  # 10
    # update G
    z_r, y_r = real.code[:b].detach(), real.features[:b].detach()
    z_x = eq.posterior_latents(z_r, p.latents(b, given), p.traces.v)  # 11
    z = torch.cat([z_x, p.latents(count - b, given)])  # 12
    fakes = p.read(p.generate(z * s))  # 13
    l_g = p.generator_loss(p.active(fakes, None), given)  # 14
    l_enc = eq.encoder_loss(z[b:], fakes.code[b:], s)  # 15
    l_rec = eq.reconstruction_loss(y_r, fakes.features[:b])  # 16
    joint = eq.weighted_loss(l_g, l_enc, c.encoder_weight)
    joint = eq.weighted_loss(joint, l_rec, c.reconstruction_weight)  # 17
    p.minimise(joint, "generator")  # 18
    v_2 = fakes.code[b:].square()  # 19
    p.trace(v_1, v_2)  # 20
    return {"critic": l_adv, "generator": l_g, "encoder": l_enc, "reconstruction": l_rec}


def vaegan_step(p: TrainingState, given: StepInput) -> Logged:
    """VAEGAN, Eq. 19-24: half of all latents from the posterior of x, half from the prior.

    L_rec reaches encoder and generator, L_adv the generator only, L_prr the encoder only.
    """
    c, x, count = p.config, given.x, len(given.x)
    r1, r2 = penalties_of(c)
    b = count // 2
    # update D
    with torch.no_grad():
        posterior = p.read(x[:b], p.encoder)
        z_x = eq.vae_latents(posterior.code, p.latents(b, given), posterior.log_variance)  # Eq. 19
        fake = p.generate(torch.cat([z_x, p.latents(count - b, given)]))
    real, fakes = p.read_pair(x, fake)
    l_adv = p.critic_loss(p.active(real, None), p.active(fakes, None))  # Eq. 22
    p.minimise(l_adv + p.penalty(given, (x, None, r1), (fake, None, r2)), "critic")
    # update G and E
    posterior = p.read(x[:b], p.encoder)
    z_x = eq.vae_latents(posterior.code, p.latents(b, given), posterior.log_variance)
    fakes = p.read(p.generate(torch.cat([z_x, p.latents(count - b, given)])))
    l_g = p.generator_loss(p.active(fakes, None), given)
    l_rec = eq.reconstruction_loss(real.features[:b].detach(), fakes.features[:b])  # Eq. 20
    l_prr = eq.prior_loss(posterior.code, posterior.log_variance)  # Eq. 21
    l_e = c.reconstruction_weight * l_rec + c.prior_weight * l_prr  # Eq. 24
    slopes = torch.autograd.grad(l_e, list(p.encoder.parameters()), retain_graph=True)
    p.minimise(eq.weighted_loss(l_g, l_rec, c.reconstruction_weight), "generator")  # Eq. 23
    p.descend("encoder", slopes)
    return {"critic": l_adv, "generator": l_g, "reconstruction": l_rec, "prior": l_prr}


def autoencoder_step(p: TrainingState, given: StepInput) -> Logged:
    """Pixel-wise squared error of G(E(x)), the thesis' baseline of Section 4.3."""
    recovered = p.generate(p.read(given.x, p.encoder).code)
    l_rec = eq.reconstruction_loss(given.x, recovered)
    p.minimise(l_rec, "encoder", "generator")
    return {"reconstruction": l_rec}
