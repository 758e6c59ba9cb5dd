// The page: hand images in, follow what happens to them, read the verdicts.  No build step, no
// library.  Strangers' text enters the page as textContent only.

const get = (id) => document.getElementById(id);
const ENDED = ["done", "failed", "cancelled"];
const STEPS = {
  model: "asking the models", origin: "searching the indexes", naturalness: "how natural is it",
  outlier: "is it an outlier", credit: "who is credited", claims: "reading what the file says",
  report: "writing the report",
};
const cards = new Map(); // job id -> its list item
let before = null;
let service = null;

async function ask(path, options = {}) {
  const response = await fetch(path, options);
  if (response.status === 401) showLogin();
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    const detail = typeof body.detail === "string" ? body.detail : `error ${response.status}`;
    throw new Error(detail);
  }
  return response.status === 204 ? null : response.json();
}

function note(text, isError = false) {
  get("note").textContent = text;
  get("note").className = isError ? "error" : "";
}

function showLogin() {
  get("login").hidden = false;
  get("work").hidden = true;
  get("token").focus();
}

get("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ token: get("token").value });
  const headers = { "Content-Type": "application/json" };
  try {
    await ask("/api/session", { method: "POST", headers, body });
    get("token").value = "";
    await start();
  } catch (error) {
    get("about").textContent = error.message;
  }
});

async function submit(files) {
  let taken = 0;
  for (const file of files) {
    if (file.size > service.max_upload_bytes) {
      note(`${file.name} is larger than this service takes`, true);
      continue;
    }
    const path = `/api/jobs?name=${encodeURIComponent(file.name.slice(0, 200))}`;
    const headers = { "Content-Type": "application/octet-stream" };
    try {
      const job = await ask(path, { method: "POST", headers, body: file });
      show(job, true);
      follow(job.id);
      taken += 1;
      note(taken === 1 ? `${job.name} was accepted` : `${taken} images were accepted`);
    } catch (error) {
      note(`${file.name}: ${error.message}`, true);
    }
  }
}

function follow(id) {
  const events = new EventSource(`/api/jobs/${id}/events`);
  events.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    show(job);
    if (ENDED.includes(job.state)) events.close();
  });
  // A broken connection is tried again by the browser; a job that is gone is not.
  events.addEventListener("error", async () => {
    try {
      show(await ask(`/api/jobs/${id}`));
    } catch {
      if (events.readyState === EventSource.CLOSED) note("The service does not answer.", true);
    }
  });
}

function makeCard(job, first) {
  const card = get("job").content.firstElementChild.cloneNode(true);
  card.id = `job-${job.id}`;
  card.querySelector("h3").textContent = job.name;
  const base = `/api/jobs/${job.id}/report`;
  card.querySelector(".open").href = `${base}.html`;
  card.querySelector(".page").href = `${base}.html?download=true`;
  card.querySelector(".json").href = `${base}.json?download=true`;
  card.querySelector(".cancel").addEventListener("click", async () => {
    try {
      show(await ask(`/api/jobs/${job.id}`, { method: "DELETE" }));
    } catch (error) {
      note(error.message, true);
    }
  });
  if (first) get("jobs").prepend(card);
  else get("jobs").append(card);
  cards.set(job.id, card);
  get("empty").hidden = true;
  return card;
}

function show(job, first = false) {
  const card = cards.get(job.id) ?? makeCard(job, first);
  const ended = ENDED.includes(job.state);
  card.dataset.state = job.state;
  card.querySelector(".state").textContent = job.state;
  const bar = card.querySelector("progress");
  bar.hidden = ended;
  if (job.state === "running" && !job.step) bar.removeAttribute("value");
  else bar.value = job.step?.total ? job.step.done / job.step.total : 0;
  card.querySelector(".step").textContent = ended || !job.step ? "" : STEPS[job.step.step] ?? "";
  card.querySelector(".error").textContent = job.error;
  for (const link of card.querySelectorAll("a")) link.hidden = job.state !== "done";
  card.querySelector(".cancel").hidden = ended;
  card.querySelector(".answers").replaceChildren(...job.summary.flatMap(answerOf));
}

function answerOf(answer) {
  const asked = document.createElement("dt");
  asked.textContent = answer.asked;
  const state = document.createElement("span");
  state.textContent = answer.state;
  state.className = `tone ${answer.state.replaceAll(" ", "-")}`;
  const body = document.createElement("dd");
  const rate = answer.error_rate === null ? "" :
    ` At most ${+(100 * answer.error_rate).toPrecision(4)}% of the time ${answer.error_of}.`;
  body.append(state, ` ${answer.sentence}${rate}`);
  return [asked, body];
}

async function history() {
  const path = before === null ? "/api/jobs" : `/api/jobs?before=${before}`;
  const found = await ask(path);
  for (const job of found.jobs) {
    show(job);
    if (!ENDED.includes(job.state)) follow(job.id);
  }
  before = found.before;
  get("more").hidden = before === null;
}

async function start() {
  service = await ask("/api/service");
  get("about").textContent = `Images are inspected with the case ${service.case}. Nothing leaves this service.`;
  get("limit").textContent = `at most ${Math.floor(service.max_upload_bytes / 2 ** 20)} MiB each`;
  get("login").hidden = true;
  get("work").hidden = false;
  await history();
}

get("file").addEventListener("change", (event) => {
  submit([...event.target.files]);
  event.target.value = "";
});
get("more").addEventListener("click", () => history().catch((e) => note(e.message, true)));
const drop = get("drop");
for (const name of ["dragover", "dragenter"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  drop.addEventListener(name, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  submit([...event.dataTransfer.files]);
});
start().catch((error) => {
  if (get("login").hidden) get("about").textContent = error.message;
});
