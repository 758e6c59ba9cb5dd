// One image of the table: its row, the answers as badges, and the row below with sentences and
// pictures.  Strangers' text enters the page as textContent only.

export const ENDED = ["done", "failed", "cancelled"];
export const QUESTIONS = {
  model: "my model?", origin: "made from", naturalness: "natural?", outlier: "outlier?",
  credit: "credit",
};
const STEPS = {
  model: "asking the models", origin: "searching the indexes", naturalness: "how natural is it",
  outlier: "is it an outlier", credit: "who is credited", claims: "reading what the file says",
  report: "writing the report",
};
const ORDER = ["found", "cannot say", "not found", "not flagged", "not asked"];

// What is found of a question about oddness is a flag.
function shownState(question, state) {
  return state === "found" && ["naturalness", "outlier"].includes(question) ? "flagged" : state;
}

export function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

export function tone(state) {
  return `tone ${state.replaceAll(" ", "-")}`;
}

export class Row {
  // `ask(path, options)`: an answer of the service; `tell(text, isError)`: a line for the person;
  // `gone(row)`: called when it was deleted; `picked()`: when it was picked, or no longer is.
  constructor(job, { ask, tell, gone, picked }) {
    const parts = document.getElementById("job").content.cloneNode(true).children;
    [this.row, this.detail] = parts;
    Object.assign(this, { job, ask, tell, gone, pictures: null, badges: {} });
    this.row.id = `job-${job.id}`;
    this.detail.id = `detail-${job.id}`;
    this.name = this.find(".name");
    this.name.textContent = job.name;
    this.name.setAttribute("aria-controls", this.detail.id);
    this.name.addEventListener("click", () => this.toggle(""));
    this.pick = this.find(".pick input");
    this.pick.addEventListener("change", picked);
    for (const [question, label] of Object.entries(QUESTIONS)) this.addBadge(question, label);
    const base = `/api/jobs/${job.id}/report`;
    this.find(".open").href = `${base}.html`;
    this.find(".page").href = `${base}.html?download=true`;
    this.find(".json").href = `${base}.json?download=true`;
    this.find(".link").href = `#job-${job.id}`;
    this.find(".when").textContent = new Date(1000 * job.created).toLocaleString();
    this.find(".cancel").addEventListener("click", () => this.end(false));
    this.find(".delete").addEventListener("click", (event) => this.confirm(event.target));
    this.show(job);
  }

  find(selector) {
    return this.row.querySelector(selector) ?? this.detail.querySelector(selector);
  }

  addBadge(question, label) {
    const badge = make("button", "badge");
    badge.type = "button";
    badge.addEventListener("click", () => this.toggle(question));
    const cell = make("td", "answer");
    cell.dataset.label = label;
    cell.append(badge);
    this.find(".when").before(cell);
    this.badges[question] = badge;
  }

  get open() {
    return !this.detail.hidden;
  }

  state(question) {
    return this.job.summary.find((answer) => answer.question === question)?.state ?? "";
  }

  rank(key) {
    if (key === "number") return this.job.number;
    if (key === "name") return this.job.name.toLowerCase();
    const place = ORDER.indexOf(this.state(key));
    return place < 0 ? ORDER.length : place;
  }

  fits({ name, question, state }) {
    const among = this.job.summary.filter((a) => !question || a.question === question);
    const answered = !state || among.some((answer) => answer.state === state);
    return answered && this.job.name.toLowerCase().includes(name.toLowerCase());
  }

  show(job) {
    this.job = job;
    const ended = ENDED.includes(job.state), done = job.state === "done";
    this.row.dataset.state = job.state;
    this.find(".state").textContent = done ? "" : job.state;
    const bar = this.find("progress");
    bar.hidden = ended;
    if (job.state === "running" && !job.step) bar.removeAttribute("value");
    else bar.value = job.step?.total ? job.step.done / job.step.total : 0;
    this.find(".step").textContent = ended || !job.step ? "" : STEPS[job.step.step] ?? "";
    this.find(".error").textContent = job.error;
    for (const link of [".open", ".page", ".json"]) this.find(link).hidden = !done;
    this.find(".cancel").hidden = ended;
    this.find(".delete").hidden = !ended;
    this.pick.disabled = !done;
    const picture = this.find("img");
    if (done && !picture.src) picture.src = `/api/jobs/${job.id}/thumbnail.png`;
    const asked = Object.keys(QUESTIONS), now = asked.indexOf(job.step?.step);
    asked.forEach((question, place) => this.paint(question, place, now, ended));
    if (this.open) this.fill();
  }

  paint(question, place, now, ended) {
    const badge = this.badges[question], state = this.state(question);
    const waiting = place < now || (now < 0 && this.job.step) ? "asked" : "waits";
    const shown = shownState(question, state) || (ended ? "" : place === now ? "asking" : waiting);
    badge.textContent = shown;
    badge.className = `badge ${shown ? tone(state || shown) : ""}`;
    badge.disabled = !state;
    badge.hidden = !shown;
    badge.setAttribute("aria-label", `${QUESTIONS[question]} ${shown}`);
    badge.title = this.job.summary.find((a) => a.question === question)?.sentence ?? "";
  }

  toggle(question) {
    const same = this.open && this.question === question;
    this.question = question;
    this.detail.hidden = same;
    this.name.setAttribute("aria-expanded", String(!same));
    for (const [name, badge] of Object.entries(this.badges)) {
      badge.setAttribute("aria-expanded", String(!same && question === name));
    }
    if (!same) this.fill();
  }

  async fill() {
    const shown = this.job.summary.filter((a) => !this.question || a.question === this.question);
    this.find(".answers").replaceChildren(...shown.map((answer) => this.section(answer)));
    if (this.job.state !== "done") return;
    try {
      this.pictures ??= this.ask(`/api/jobs/${this.job.id}/pictures.json`);
      const { evidence } = await this.pictures;
      for (const part of this.find(".answers").children) {
        const panels = (evidence[part.dataset.question] ?? []).map(panelOf);
        part.querySelector(".strip").replaceChildren(...panels);
      }
    } catch {
      this.pictures = null; // a report of an older version has none
    }
  }

  section(answer) {
    const part = make("section", "");
    part.dataset.question = answer.question;
    const rate = answer.error_rate === null ? "" :
      ` At most ${+(100 * answer.error_rate).toPrecision(4)}% of the time ${answer.error_of}.`;
    const said = make("p", "");
    const shown = shownState(answer.question, answer.state);
    said.append(make("span", tone(answer.state), shown), ` ${answer.sentence}${rate}`);
    part.append(make("h3", "", answer.asked), said, make("div", "strip"));
    return part;
  }

  confirm(button) {
    if (button.dataset.sure) {
      this.end(true);
      return;
    }
    button.dataset.sure = "yes";
    button.textContent = "Delete it and its report?";
  }

  async end(remove) {
    try {
      const job = await this.ask(`/api/jobs/${this.job.id}?remove=${remove}`, { method: "DELETE" });
      if (remove) this.gone(this);
      else this.show(job);
    } catch (error) {
      this.tell(error.message, true);
    }
  }
}

function panelOf(panel) {
  const figure = make("figure", ""), picture = document.createElement("picture");
  const image = document.createElement("img"), dark = document.createElement("source");
  dark.media = "(prefers-color-scheme: dark)";
  dark.srcset = panel.dark || panel.image;
  image.src = panel.image;
  image.alt = panel.alt;
  picture.append(dark, image);
  figure.append(picture, make("figcaption", "", panel.caption));
  return figure;
}
