// Keys, and what a page says by itself. Nothing here decides: a key moves the focus, pressing is the person's.
"use strict";
(() => {
  const KEYS_OFF = "clearance-keys-off";
  const find = (what) => document.querySelector(what);
  const stored = () => { try { return localStorage.getItem(KEYS_OFF); } catch { return null; } };

  // The list of keys, and the switch for them.
  const help = find("#help");
  const toggle = find("#keys-on");
  if (toggle) {
    toggle.checked = stored() === null;
    toggle.addEventListener("change", () => {
      try { toggle.checked ? localStorage.removeItem(KEYS_OFF) : localStorage.setItem(KEYS_OFF, "1"); } catch { /* private window */ }
    });
  }

  const move = (by) => {
    const links = [...document.querySelectorAll(".requests .what a")];
    const at = links.indexOf(document.activeElement);
    const to = at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + by, 0), links.length - 1);
    links[to]?.focus();
  };
  const into = (what, details) => {
    const where = find(what);
    if (!where) return;
    if (details) find(details).open = true;
    where.focus();
    where.scrollIntoView({ block: "center" });
  };
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    "/": () => find(".filters select, .filters input:not([type=hidden])")?.focus(),
    ".": () => find("a.arrivals")?.focus(),
    a: () => into("#approve input:not([type=hidden]), #approve button"),
    r: () => into("#reason", "#reject"),
    e: () => into("#edit .input", "#edit"),
    n: () => find("[data-key=n]")?.focus(),
    p: () => find("[data-key=p]")?.focus(),
    u: () => (find("[data-key=u]") ?? find(".brand"))?.focus(),
    "?": () => help?.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    // The box of the list of keys keeps the focus after it is closed, until the page is drawn again; it takes no text.
    const typing = event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (typing || help?.open || event.ctrlKey || event.altKey || event.metaKey || (stored() !== null && event.key !== "?")) return;
    const act = keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const open = event.target.closest?.("details[open]");
    if (open) { open.open = false; open.querySelector("summary").focus(); }
  });

  // A form is sent once, however often its button is pressed.
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) event.preventDefault();
    else if (event.target.method === "post") event.target.dataset.sent = "1";
  });
  addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

  // What was typed into a form that goes, because somebody else was faster, stays readable.
  let typed = "";
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    if (event.target.id === "decide") typed = find("#reason")?.value ?? "";
  });
  // A row that turns grey keeps its height: nothing moves under the cursor.
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { id, offsetHeight, tagName } = event.target;
    if (tagName === "TR") requestAnimationFrame(() => { document.getElementById(id).style.height = `${offsetHeight}px`; });
  });
  // A tab that nobody looks at says what is new.
  document.addEventListener("htmx:oobAfterSwap", (event) => {
    const title = document.getElementById(event.target.id)?.dataset.title;
    if (title) document.title = title;
  });
  document.addEventListener("htmx:oobAfterSwap", () => {
    const place = find("#typed");
    if (!place || !typed) return;
    place.hidden = false;
    place.querySelector("blockquote").textContent = typed;
  });

  // A list that is filtered or refreshed says so once that takes longer than one notices. Its rows stay readable.
  const isList = (event) => event.detail.target?.id === "list";
  let slow;
  const settled = () => { clearTimeout(slow); find("#list")?.removeAttribute("aria-busy"); };
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (!isList(event)) return;
    settled();
    slow = setTimeout(() => {
      const live = find("#live");
      find("#list").setAttribute("aria-busy", "true");
      delete live.dataset.lost;
      live.className = "live";
      live.textContent = "Updating…";
      find("#said").textContent = "Updating.";
    }, 200);
  });
  document.addEventListener("htmx:afterRequest", (event) => { if (isList(event)) settled(); });
  document.addEventListener("htmx:afterSettle", (event) => {
    const list = find("#list");
    if (event.detail.elt !== list && event.detail.target?.id !== "list") return;
    find("#said").textContent = list.dataset.said;
    document.querySelectorAll(".filters label").forEach((label) => label.classList.toggle("set", Boolean(label.control.value)));
    // The link that showed what is new is gone: the focus goes to what came.
    if (document.activeElement === document.body) list.focus({ preventScroll: true });
  });

  // A page that is not live any more says so.
  const lost = (text, link) => {
    const live = find("#live") ?? find("#meanwhile");
    if (!live || live.dataset.lost === text) return;
    live.dataset.lost = text;
    live.className = "live live-lost";
    live.setAttribute("role", "alert");
    live.textContent = text;
    if (link) {
      const to = document.createElement("a");
      to.href = link;
      to.textContent = "Sign in";
      live.append(" ", to);
    }
  };
  let ended = false;
  document.addEventListener("htmx:beforeRequest", (event) => { if (ended) event.preventDefault(); });
  const back = () => `/inbox/sign-in?ended=1&next=${encodeURIComponent(location.pathname + location.search)}`;
  document.addEventListener("htmx:sendError", (event) => lost(isList(event)
    ? "Not updated: the server does not answer. Filter again." : "Not live: the server does not answer. Trying again."));
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401) { ended = true; lost("Not live: your session ended.", back()); }
    else if (isList(event)) lost("Not updated: the server did not answer as it should. Filter again.");
    else lost("Not live: the server did not answer as it should. Trying again.");
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const live = find("#meanwhile[data-lost]");
    if (live && event.detail.successful) {
      delete live.dataset.lost;
      live.textContent = "";
      live.removeAttribute("role");
    }
  });
})();
