// Asks for the page that is shown, every few seconds, and takes over what changed in it. Without this file all works; one
// reloads by hand. While nobody looks nothing is asked for.
"use strict";
(() => {
  const EVERY = 5000;
  const PATIENCE = 8000;
  const contact = document.getElementById("contact");
  let timer;
  let busy = false;
  let seen = new Date();

  const clock = (at) => at.toISOString().slice(11, 19);

  function say(words) {
    if (contact.textContent !== words) contact.textContent = words;
  }

  // What would be lost by a change under the reader's hands: marked text.
  function isMarking(main) {
    const marked = getSelection();
    return marked && !marked.isCollapsed && main.contains(marked.anchorNode);
  }

  // Where the keyboard is: an element's id, or which of the links to the same page.
  function place(main) {
    const at = document.activeElement;
    if (!at || at === main || !main.contains(at)) return () => null;
    if (at.id) return () => document.getElementById(at.id);
    const href = at.getAttribute("href");
    const same = () => [...document.querySelectorAll("main a")].filter((a) => a.getAttribute("href") === href);
    const which = same().indexOf(at);
    return () => same()[which] || same()[0] || null;
  }

  function takeOver(main, fresh) {
    const focused = place(main);
    const open = [...main.querySelectorAll("details[id][open]")].map((details) => details.id);
    const scrolled = [...main.querySelectorAll("[id]")].filter((one) => one.scrollLeft > 0).map((one) => [one.id, one.scrollLeft]);
    const [x, y] = [scrollX, scrollY];
    const before = document.activeElement;
    const parts = [...fresh.children].map((part) => {
      const old = part.id && main.querySelector(`:scope > #${CSS.escape(part.id)}`);
      if (old && (old.hasAttribute("data-keep") || old.isEqualNode(part))) return old;
      return document.adoptNode(part);
    });
    const same = parts.length === main.children.length && parts.every((part, at) => part.id === main.children[at].id);
    if (same) {
      // one by one, so that what stays keeps the keyboard
      parts.forEach((part, at) => { if (part !== main.children[at]) main.children[at].replaceWith(part); });
    } else {
      main.replaceChildren(...parts);
    }
    open.forEach((id) => { const details = document.getElementById(id); if (details) details.open = true; });
    scrolled.forEach(([id, left]) => { const one = document.getElementById(id); if (one) one.scrollLeft = left; });
    if (document.activeElement !== before) {
      const again = focused();
      if (again) again.focus({ preventScroll: true });
    }
    scrollTo({ left: x, top: y, behavior: "instant" });
  }

  async function refresh() {
    const main = document.querySelector("main");
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    const text = await answer.text();
    const page = new DOMParser().parseFromString(text, "text/html");
    const fresh = page.querySelector("main");
    if (!fresh) throw new Error("no page");
    if (!answer.ok) {
      // what is shown is worth more than the notice that there is nothing to show
      const head = fresh.querySelector("h1");
      say(`${head ? head.textContent : "No answer"}. What you see is from ${clock(seen)} UTC.`);
      return;
    }
    seen = new Date();
    say("");
    if (isMarking(main)) return;
    document.title = page.title;
    takeOver(main, fresh);
  }

  async function turn() {
    clearTimeout(timer);
    if (document.hidden || busy) return;
    busy = true;
    try {
      await refresh();
    } catch {
      say(`The pod does not answer. What you see is from ${clock(seen)} UTC.`);
    } finally {
      busy = false;
      timer = setTimeout(turn, EVERY);
    }
  }

  document.addEventListener("visibilitychange", turn);
  if (document.querySelector("main")) timer = setTimeout(turn, EVERY);
})();
