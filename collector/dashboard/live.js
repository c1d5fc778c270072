// Makes pages fresher for those who run scripts; without it they say the same, a reload later.
//
// 1. A page with an element of class "pending" (a question that is still being answered), or whose
//    <main> has data-refresh (seconds), is fetched again and its <main> put in the place of the old
//    one. What has the focus keeps it, what was opened stays open.
// 2. An element with data-stream names a stream of server-sent events. Each message is JSON of
//    "texts": {name: text} for elements with data-live of that name, and "minutes": {name: lists of
//    numbers} for the columns of a chart of that name, a list for each series, the lowest first.
//
// Nothing is fetched while the page is hidden. Texts are set as text, never as HTML.
'use strict';

(() => {
    const FIRST_MS = 1000, LAST_MS = 15000, HEIGHT = 100;
    let wait = FIRST_MS, timer = 0, source = null, streamed = '';

    const main = () => document.querySelector('main');

    // An element told by where it stands, so that it is found again on the page that is fetched.
    function place(root, element) {
        if (element.id) return `#${CSS.escape(element.id)}`;
        const steps = [];
        for (let one = element; one && one !== root; one = one.parentElement) {
            steps.unshift(`:nth-child(${[...one.parentElement.children].indexOf(one) + 1})`);
        }
        return steps.length ? `main > ${steps.join(' > ')}` : 'main';
    }

    function isTyping() {
        const one = document.activeElement;
        return one && one.matches('main input, main select, main textarea');
    }

    function replace(text) {
        const fresh = new DOMParser().parseFromString(text, 'text/html').querySelector('main');
        const old = main();
        if (!fresh || !old) return;
        const opened = [...old.querySelectorAll('details[open]')].map(one => place(old, one));
        const active = document.activeElement;
        const focus = old.contains(active) ? place(old, active) : '';
        const scrolled = [...old.querySelectorAll('.wide')].map(one => one.scrollLeft);
        old.replaceWith(fresh);
        for (const where of opened) fresh.parentElement.querySelector(where)?.setAttribute('open', '');
        fresh.querySelectorAll('.wide').forEach((one, n) => { one.scrollLeft = scrolled[n] || 0; });
        if (focus) fresh.parentElement.querySelector(focus)?.focus({preventScroll: true});
        listen();
    }

    async function again() {
        timer = 0;
        if (document.hidden || isTyping()) return plan();
        try {
            const answer = await fetch(location.href, {headers: {accept: 'text/html'}});
            // Logged out meanwhile: the page that asks for the token is shown, and nothing repeated.
            if (answer.redirected) return location.assign(answer.url);
            if (answer.ok && !isTyping()) replace(await answer.text());
            wait = answer.ok ? Math.min(wait * 1.3, LAST_MS) : LAST_MS;
        } catch {
            wait = LAST_MS;
        }
        plan();
    }

    function plan() {
        clearTimeout(timer);
        const here = main();
        if (!here) return;
        const refresh = Number(here.dataset.refresh || 0) * 1000;
        if (here.querySelector('.pending')) {
            timer = setTimeout(again, wait);
        } else if (refresh) {
            wait = FIRST_MS;
            timer = setTimeout(again, refresh);
        }
    }

    function show(message) {
        const told = JSON.parse(message.data);
        for (const [name, text] of Object.entries(told.texts || {})) {
            for (const one of document.querySelectorAll(`[data-live="${CSS.escape(name)}"]`)) {
                if (one.textContent !== text) one.textContent = text;
            }
        }
        for (const [name, series] of Object.entries(told.minutes || {})) {
            const plot = document.querySelector(`.plot[data-live="${CSS.escape(name)}"]`);
            if (plot) draw(plot, series);
        }
    }

    function draw(plot, series) {
        const sums = series[0].map((_, n) => series.reduce((sum, one) => sum + one[n], 0));
        const most = Math.max(1, ...sums);
        const columns = plot.querySelectorAll('rect');
        plot.querySelector('.most').textContent = most.toLocaleString('en').replaceAll(',', '\u202f');
        sums.forEach((_, n) => {
            let top = HEIGHT;
            series.forEach((one, k) => {
                const column = columns[n * series.length + k];
                const height = HEIGHT * one[n] / most;
                top -= height;
                column?.setAttribute('height', height.toFixed(2));
                column?.setAttribute('y', top.toFixed(2));
                column?.querySelector('title')?.remove();  // it told the number of before
            });
        });
    }

    function listen() {
        const path = document.querySelector('[data-stream]')?.dataset.stream || '';
        if (source && path === streamed && !document.hidden) return;
        source?.close();
        source = null;
        if (!path || document.hidden) return;
        streamed = path;
        source = new EventSource(path);
        source.onmessage = show;
    }

    document.addEventListener('visibilitychange', () => {
        listen();
        if (!document.hidden && !timer) plan();
    });
    // A page in the back-forward cache must not hold a connection.
    addEventListener('pagehide', () => { source?.close(); source = null; });
    addEventListener('pageshow', listen);
    listen();
    plan();
})();
