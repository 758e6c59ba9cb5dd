// Two images side by side, with what was answered about each.

import { make, QUESTIONS, tone } from "./row.js";

const dialog = document.getElementById("comparison");
dialog.querySelector(".close").addEventListener("click", () => dialog.close());

export async function compare(rows, ask) {
  const sides = await Promise.all(rows.map(async ({ job }) => {
    const { image } = await ask(`/api/jobs/${job.id}/pictures.json`);
    const figure = make("figure", ""), picture = document.createElement("img");
    picture.src = image ?? `/api/jobs/${job.id}/thumbnail.png`;
    picture.alt = job.name;
    figure.append(picture, make("figcaption", "", job.name));
    for (const answer of job.summary) {
      const line = make("p", "", `${QUESTIONS[answer.question]} `);
      line.append(make("span", tone(answer.state), answer.state), ` ${answer.sentence}`);
      figure.append(line);
    }
    return figure;
  }));
  dialog.querySelector(".pair").replaceChildren(...sides);
  dialog.showModal();
}
