// Filters and pages the chain of new pictures. The rows are JSON inside the page; only those of the current page of
// rows are in the document, so ten thousand cost what two dozen do. Text goes in as text, never as markup. Filters and
// page stand behind the `#` of the address, so that a view can be linked to and the back button works.
"use strict";

(() => {
  const chain = document.getElementById("chain");
  if (!chain) return;
  const data = JSON.parse(document.getElementById("chain-data").textContent);
  const form = document.getElementById("chain-filters");
  const list = document.getElementById("chain-rows");
  const status = document.getElementById("chain-status");
  const pagers = [...document.querySelectorAll(".pager")];
  const PER_PAGE = 24;
  const KEYS = ["class", "cluster", "group", "outcome"];

  const OUTCOMES = {
    kept: "kept",
    dropped: "dropped",
    repaired: "new picture: ERM wrong, SCGS right",
    broken: "new picture: ERM right, SCGS wrong",
    "wrong-in-both": "new picture: wrong in both",
    "right-in-both": "new picture: right in both",
  };

  const nameOfClass = (label) => data.classes[label] ?? String(label);
  const nameOfGroup = (source) =>
    source.attribute === null
      ? nameOfClass(source.label)
      : `${nameOfClass(source.label)} on ${data.attributes[source.attribute] ?? source.attribute}`;
  const nameOfCluster = (source) => (source.cluster === null ? "" : `${nameOfClass(source.label)} ${source.cluster}`);

  /** What happened to the new picture between the two classifiers; empty where nobody was asked. */
  function change(row) {
    if (!row.erm || !row.scgs) return "";
    const before = row.erm[0] === row.class;
    const after = row.scgs[0] === row.class;
    if (before) return after ? "right-in-both" : "broken";
    return after ? "repaired" : "wrong-in-both";
  }

  /** The values of a row that a filter may ask for. */
  function values(row) {
    const source = data.sources[row.source];
    return {
      class: [nameOfClass(row.class)],
      cluster: [nameOfCluster(source)],
      group: [nameOfGroup(source)],
      outcome: [row.kept ? "kept" : "dropped", change(row)],
    };
  }
  const valuesOf = data.rows.map(values);

  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key === "class") made.className = value;
      else made[key] = value;
    }
    made.append(...children);
    return made;
  }

  /** Fills a select with the values that occur, and hides it where there is nothing to choose. */
  function fill(key) {
    const select = form.elements[key];
    const counts = new Map();
    for (const of of valuesOf) for (const value of of[key]) if (value) counts.set(value, (counts.get(value) ?? 0) + 1);
    const order = key === "outcome" ? Object.keys(OUTCOMES).filter((v) => counts.has(v)) : [...counts.keys()].sort(collate);
    for (const value of order) {
      const label = `${key === "outcome" ? OUTCOMES[value] : value} (${counts.get(value)})`;
      select.append(element("option", { value, textContent: label }));
    }
    select.closest("label").hidden = order.length < 2;
  }
  const collate = new Intl.Collator("en", { numeric: true }).compare;

  /** Filters and page, as the address has them. Unknown values count as none. */
  function read() {
    const asked = new URLSearchParams(location.hash.replace(/^#/, ""));
    const state = { page: Math.max(1, Number.parseInt(asked.get("page") ?? "1", 10) || 1) };
    for (const key of KEYS) {
      const known = [...form.elements[key].options].some((option) => option.value === asked.get(key));
      state[key] = known ? asked.get(key) : "";
    }
    return state;
  }

  function write(state) {
    const asked = new URLSearchParams();
    for (const key of KEYS) if (state[key]) asked.set(key, state[key]);
    if (state.page > 1) asked.set("page", String(state.page));
    const hash = `#${asked}`;
    if (hash !== location.hash) history.pushState(null, "", hash);
    show(state);
  }

  const percent = (share) => `${Math.round(share * 100)} %`;

  /** One classifier's answer, with a sign that does not rest on colour. */
  function answer(who, given, truth) {
    if (!given) return null;
    const right = given[0] === truth;
    const mark = element("span", { class: right ? "right" : "wrong", textContent: right ? "✓" : "✗" });
    mark.setAttribute("aria-hidden", "true");
    const spoken = element("span", { class: "spoken", textContent: right ? " (right)" : " (wrong)" });
    return element("span", { class: "answer" }, `${who} ${nameOfClass(given[0])} ${percent(given[1])} `, mark, spoken);
  }

  function picture(source, file, alt, kind) {
    const image = element("img", { src: source ?? data.root + file, alt, loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => image.closest("a").classList.add("missing"));
    return element("a", { href: data.root + file, class: kind }, image);
  }

  function line(term, ...parts) {
    const shown = parts.filter(Boolean);
    return shown.length ? [element("dt", { textContent: term }), element("dd", {}, ...shown)] : [];
  }

  function card(row) {
    const source = data.sources[row.source];
    const [photo, map, mask] = source.files;
    const [smallPhoto, smallMap, smallMask] = source.thumbnails;
    const looked = picture(smallMap, map, `where the classifier looks in picture ${source.id}`, "attention");
    looked.prepend(element("img", { src: smallPhoto ?? data.root + photo, alt: "", loading: "lazy", class: "under" }));
    const pictures = element(
      "div",
      { class: "four" },
      picture(smallPhoto, photo, `training picture ${source.id}, ${nameOfGroup(source)}`, "photo"),
      looked,
      picture(smallMask, mask, "mask: white is repainted", "mask"),
      picture(row.thumbnail, row.file, `new picture of class ${nameOfClass(row.class)}`, "painted"),
    );
    const area = source.area === null ? "" : `, ${percent(source.area)} repainted`;
    const cluster = source.cluster === null ? "" : `, cluster ${nameOfCluster(source)}`;
    const facts = element(
      "dl",
      {},
      ...line("picture", `#${source.id}, ${nameOfGroup(source)}${cluster}${area}`),
      ...line(
        "is taken for",
        answer("held out:", source.held_out, source.label),
        answer("ERM:", source.erm, source.label),
        answer("SCGS:", source.scgs, source.label),
      ),
      ...line("new picture", `for ${nameOfClass(row.class)}, `, element("b", { textContent: row.kept ? "kept" : "dropped" }), row.why ? `: ${row.why}` : ""),
      ...line("is taken for", answer("ERM:", row.erm, row.class), answer("SCGS:", row.scgs, row.class)),
    );
    return element("li", { class: row.kept ? "link" : "link dropped" }, pictures, facts);
  }

  function show(state) {
    const found = [];
    for (let i = 0; i < data.rows.length; i += 1) {
      if (KEYS.every((key) => !state[key] || valuesOf[i][key].includes(state[key]))) found.push(data.rows[i]);
    }
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    const page = Math.min(state.page, pages);
    const from = (page - 1) * PER_PAGE;
    list.replaceChildren(...found.slice(from, from + PER_PAGE).map(card));
    const all = `${data.rows.length} new pictures`;
    status.textContent = found.length
      ? `${from + 1} to ${Math.min(from + PER_PAGE, found.length)} of ${found.length === data.rows.length ? all : `${found.length} that fit, of ${all}`}`
      : `None of ${all} fits these filters.`;
    for (const key of KEYS) form.elements[key].value = state[key];
    form.elements.reset.disabled = KEYS.every((key) => !state[key]);
    for (const pager of pagers) {
      pager.hidden = pages < 2;
      pager.querySelector(".where").textContent = `page ${page} of ${pages}`;
      for (const button of pager.querySelectorAll("button")) {
        const target = { first: 1, previous: page - 1, next: page + 1, last: pages }[button.name];
        button.disabled = target < 1 || target > pages || target === page;
        button.onclick = () => {
          write({ ...state, page: target });
          // A button that has just been disabled would lose the focus of the keyboard.
          if (button.disabled) pager.querySelector("button:not(:disabled)")?.focus();
          if (pager.classList.contains("below")) chain.scrollIntoView();
        };
      }
    }
  }

  const chosen = () => Object.fromEntries(KEYS.map((key) => [key, form.elements[key].value]));
  KEYS.forEach(fill);
  form.addEventListener("change", () => write({ ...chosen(), page: 1 }));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.reset.addEventListener("click", () => {
    write({ page: 1, ...Object.fromEntries(KEYS.map((key) => [key, ""])) });
    form.elements.class.focus();
  });
  window.addEventListener("popstate", () => show(read()));
  // A cluster of the error set's map leads to its rows.
  for (const link of document.querySelectorAll("a[data-cluster]")) {
    link.addEventListener("click", (event) => {
      if (![...form.elements.cluster.options].some((option) => option.value === link.dataset.cluster)) return;
      event.preventDefault();
      write({ ...chosen(), cluster: link.dataset.cluster, page: 1 });
      chain.scrollIntoView();
    });
  }
  show(read());
  form.hidden = false;
  chain.dataset.ready = String(Math.round(performance.now()));
})();
