// The page: hand images in, follow what happens to them, sort, filter and compare the answers.  No
// build step, no library.  Strangers' text enters the page as textContent only.

import { compare } from "./compare.js";
import { ENDED, Row } from "./row.js";

const get = (id) => document.getElementById(id);
const MAX_STREAMS = 3; // a browser opens six connections to one host
const MAX_FILES = 10000; // of one folder
const rows = new Map(); // by job id
const streams = new Set(); // job ids that are followed
const sorting = { key: "number", sign: -1 };
let before = null;
let service = null;

async function ask(path, options = {}) {
  const response = await fetch(path, options);
  if (response.status === 401) showLogin();
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    const detail = typeof body.detail === "string" ? body.detail : `error ${response.status}`;
    const again = Number(response.headers.get("Retry-After"));
    throw Object.assign(new Error(detail), { again: response.status === 503 ? again : 0 });
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

// Handing in.

async function submit(files) {
  let taken = 0;
  for (const file of files) {
    if (file.size > service.max_upload_bytes) {
      note(`${file.name} is larger than this service takes`, true);
      continue;
    }
    try {
      const job = await upload(file);
      show(job);
      taken += 1;
      note(taken === 1 ? `${job.name} was accepted` : `${taken} images were accepted`);
    } catch (error) {
      note(`${file.name}: ${error.message}`, true);
    }
    arrange();
  }
}

async function upload(file) {
  const path = `/api/jobs?name=${encodeURIComponent(file.name.slice(0, 200))}`;
  const headers = { "Content-Type": "application/octet-stream" };
  for (;;) {
    try {
      return await ask(path, { method: "POST", headers, body: file });
    } catch (error) {
      if (!error.again) throw error;
      note(`${error.message} (tried again in ${error.again} s)`);
      await new Promise((done) => setTimeout(done, 1000 * error.again));
    }
  }
}

async function filesBelow(entries) {
  const files = [];
  while (entries.length && files.length < MAX_FILES) {
    const entry = entries.shift();
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      if (isImage(file)) files.push(file);
    } else if (entry.isDirectory) {
      const reader = entry.createReader();
      for (;;) { // it gives a hundred at a time
        const some = await new Promise((done, failed) => reader.readEntries(done, failed));
        if (!some.length) break;
        entries.push(...some);
      }
    }
  }
  return files;
}

const isImage = (file) => !file.name.startsWith(".") && (!file.type || file.type.startsWith("image/"));

for (const id of ["file", "folder"]) {
  get(id).addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    submit(id === "folder" ? files.filter(isImage).slice(0, MAX_FILES) : files);
  });
}
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
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  const data = event.dataTransfer, files = [...data.files];
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const folders = entries.some((entry) => entry.isDirectory);
  submit(folders ? await filesBelow(entries) : files);
});

// Following: the jobs that wait longest, as the service does these first.

function follow() {
  const open = [...rows.values()].filter(({ job }) => !ENDED.includes(job.state));
  open.sort((a, b) => a.job.number - b.job.number);
  for (const { job } of open) {
    if (streams.size >= MAX_STREAMS) return;
    if (!streams.has(job.id)) listen(job.id);
  }
}

function listen(id) {
  streams.add(id);
  const events = new EventSource(`/api/jobs/${id}/events`);
  const close = () => {
    events.close();
    streams.delete(id);
    follow();
  };
  events.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    rows.get(id)?.show(job);
    if (!rows.has(id) || ENDED.includes(job.state)) {
      close();
      arrange();
    }
  });
  // A broken connection is tried again by the browser; a job that is gone is not.
  events.addEventListener("error", async () => {
    try {
      rows.get(id)?.show(await ask(`/api/jobs/${id}`));
    } catch {
      if (events.readyState === EventSource.CLOSED) note("The service does not answer.", true);
    }
  });
}

// The table.

function show(job) {
  const known = rows.get(job.id);
  if (known) known.show(job);
  else rows.set(job.id, new Row(job, { ask, tell: note, gone, picked }));
  follow();
}

function gone(row) {
  rows.delete(row.job.id);
  row.row.remove();
  row.detail.remove();
  note(`${row.job.name} was deleted`);
  arrange();
}

const picks = () => [...rows.values()].filter((row) => row.pick.checked);

function picked() {
  get("compare").disabled = picks().length !== 2;
}

const wanted = () => ({
  name: get("search").value, question: get("question").value, state: get("state").value,
});

function arrange() {
  const now = wanted(), { key, sign } = sorting;
  const order = [...rows.values()].map((row) => [row.rank(key), row]);
  order.sort(([a, x], [b, y]) => {
    const first = a < b ? -1 : a > b ? 1 : 0;
    return sign * first || y.job.number - x.job.number;
  });
  const shown = order.map(([, row]) => row).filter((row) => row.fits(now));
  const parts = shown.flatMap((row) => [row.row, row.detail]);
  const table = get("jobs"), focus = document.activeElement;
  if (parts.some((part, place) => table.children[place] !== part) ||
      parts.length !== table.children.length) {
    table.replaceChildren(...parts);
    if (table.contains(focus)) focus.focus();
  }
  for (const button of document.querySelectorAll("[data-sort]")) {
    const direction = sign > 0 ? "ascending" : "descending";
    button.parentElement.ariaSort = button.dataset.sort === key ? direction : "none";
  }
  const of = before === null ? "" : " so far";
  get("count").textContent = rows.size ?
    `${shown.length} of ${rows.size} images${of}` : "No image yet.";
  for (const link of get("exports").querySelectorAll("a")) {
    link.search = new URLSearchParams(now);
  }
  picked();
}

async function history(count = 50) {
  const more = before === null ? "" : `&before=${before}`;
  const found = await ask(`/api/jobs?count=${count}${more}`);
  before = found.before;
  found.jobs.forEach(show);
  get("more").hidden = before === null;
  arrange();
}

async function everything() { // what is sorted or filtered has to be here
  arrange();
  while (before !== null) await history(200);
}

const failing = (work) => work.catch((error) => note(error.message, true));
get("more").addEventListener("click", () => failing(history()));
get("filter").addEventListener("input", () => failing(everything()));
get("filter").addEventListener("submit", (event) => event.preventDefault());
get("compare").addEventListener("click", () => failing(compare(picks(), ask)));
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const key = button.dataset.sort;
    Object.assign(sorting, { key, sign: sorting.key === key ? -sorting.sign : 1 });
    failing(everything());
  });
}

// A link to one image, and keys.

async function goTo(hash) {
  const id = hash.replace("#job-", "");
  if (!/^[0-9a-f]{32}$/.test(id)) return;
  if (!rows.has(id)) show(await ask(`/api/jobs/${id}`));
  arrange();
  const row = rows.get(id);
  if (!row.open) row.toggle("");
  row.row.scrollIntoView();
  row.name.focus({ preventScroll: true });
}
window.addEventListener("hashchange", () => failing(goTo(location.hash)));

const KEYS = {
  "/": () => get("search").focus(),
  j: () => step(1),
  k: () => step(-1),
  x: () => current()?.pick.click(),
  c: () => get("compare").click(),
  Escape: () => { const row = current(); if (row?.open) row.toggle(row.question); },
};
const current = () => rows.get(
  document.activeElement.closest("#jobs tr")?.id.replace(/^(job|detail)-/, ""));

function step(by) {
  const names = [...document.querySelectorAll("#jobs .name")];
  const place = names.indexOf(current()?.name);
  names[Math.max(0, Math.min(names.length - 1, place < 0 ? 0 : place + by))]?.focus();
}
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT)$/.test(event.target.tagName) && event.target.type !== "checkbox";
  if (typing || event.ctrlKey || event.metaKey || event.altKey || get("comparison").open) return;
  if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  }
});

async function start() {
  service = await ask("/api/service");
  get("about").textContent = `Images are inspected with the case ${service.case}. Nothing leaves this service.`;
  get("limit").textContent = `at most ${Math.floor(service.max_upload_bytes / 2 ** 20)} MiB each`;
  await history();
  get("login").hidden = true;
  get("work").hidden = false;
  await goTo(location.hash);
}
start().catch((error) => {
  if (get("login").hidden) get("about").textContent = error.message;
});
