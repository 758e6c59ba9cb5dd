"""Metrics: AUROC, retrieval, distances of feature sets, the 2-D KS distance, PSNR and SSIM."""
