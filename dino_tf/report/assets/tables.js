// Words and tables: the run, its health, evaluations, configuration.
const VERDICTS = { learning: "good", starting: "warn", flat: "warn" };

function showRun() {
  byId("title").textContent = data.title;
  byId("state").textContent = data.state;
  for (const [name, text] of data.facts) {
    byId("facts").append(make("dt", { text: name }), make("dd", { text }));
  }
  byId("notes").append(...data.notes.map((text) => make("li", { text })));
  show("run", "Run");
}

function showHealth() {
  const health = data.health;
  if (!health) return;
  const verdict = byId("verdict");
  verdict.textContent = health.verdict;
  verdict.classList.add(VERDICTS[health.verdict] || "bad");
  const before = health.history.slice(0, -1).map(({ verdict: word, first, last }) =>
    `${word} (epoch ${first === last ? first : `${first} to ${last}`})`);
  byId("verdict-history").textContent = before.length ? `before: ${before.join(", ")}` : "";
  byId("verdict-about").textContent = health.about || "";
  byId("advice").append(...health.advice.map((text) => make("li", { text })));
  show("health", "Health");
}

function listOf(lines, kind) {
  if (!lines.length) return null;
  return make("ul", { class: kind }, ...lines.map((text) => make("li", { text })));
}

function numbersOf(task) {
  if (!task.rows.length) return null;
  const heads = task.columns.map((name) => make("th", { class: "number", scope: "col", text: name }));
  const rows = task.rows.map(([name, ...values]) => make("tr", {},
    make("td", {}, make("code", { text: name })),
    ...values.map((value) => make("td", { class: "number", text: percent(value) }))));
  return make("div", { class: "scroll" }, make("table", {},
    make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "" }), ...heads)),
    make("tbody", {}, ...rows)));
}

function showEvaluations() {
  const found = data.evaluations || [];
  if (!found.length) return;
  for (const result of found) {
    byId("evaluation-list").append(make("h3", { text: result.title }),
      make("p", { class: "quiet", text: result.about }), listOf(result.notes, "quiet") || "");
    for (const task of result.tasks) {
      byId("evaluation-list").append(make("div", { class: "task" },
        make("h4", { text: task.name }),
        task.failed ? make("p", { text: `Not done: ${task.failed}` }) : null,
        numbersOf(task), listOf(task.published, "quiet"), listOf(task.notes, "quiet"),
        task.about ? make("p", { class: "quiet", text: task.about }) : null,
        ...task.pictures.map((p) => figure(p.picture, p.name, p.name, ""))));
    }
  }
  show("evaluations", "Evaluations");
}

function showConfiguration() {
  const settings = data.configuration || [];
  if (!settings.length) return;
  const rows = settings.map(({ key, value, reason }) => {
    const row = make("tr", {}, make("td", {}, make("code", { text: key })),
      make("td", {}, make("code", { text: value })), make("td", { text: reason }));
    byId("configuration-rows").append(row);
    return row;
  });
  const filter = byId("configuration-filter"), only = byId("configuration-reasons");
  const update = () => settings.forEach(({ key, value, reason }, i) => {
    const found = `${key} ${value} ${reason}`.toLowerCase().includes(filter.value.toLowerCase());
    rows[i].hidden = !found || (only.checked && !reason);
  });
  filter.addEventListener("input", update);
  only.addEventListener("change", update);
  show("configuration", "Configuration");
}
