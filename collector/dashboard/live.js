// Makes pages fresher for those who run scripts; without it they say the same, a reload later.
//
// 1. A page with an element of class "pending" (a question that is still being answered), or whose
//    <main> has data-refresh (seconds), is fetched again and its <main> put in the place of the old
//    one. What has the focus keeps it, what was opened stays open; it waits for who types or marks.
// 2. An element with data-stream names a stream of server-sent events. Each message is JSON of
//    "texts": {name: text} for elements with data-live of that name, and "minutes": {name: lists of
//    numbers} for the columns of a chart of that name, a list for each series, the lowest first.
//    Where the stream is refused, the page is fetched again instead, now and then.
// 3. When the collector does not answer for some seconds, the page says that it is not up to date.
//
// Nothing is fetched while the page is hidden. Texts are set as text, never as HTML.
'use strict';

(() => {
    const FIRST_MS = 1000, LAST_MS = 15000, REFUSED_MS = 10000, SILENT_MS = 6000, HEIGHT = 100;
    const figures = new Intl.NumberFormat('en', {maximumFractionDigits: 0});
    let wait = FIRST_MS, timer = 0, silence = 0, source = null;

    const main = () => document.querySelector('main');

    function say(element, text) {
        if (element && element.textContent !== text) element.textContent = text;
    }

    // An element told by where it stands, so that it is found again on the page that is fetched.
    function place(root, element) {
        if (element.id) return `#${CSS.escape(element.id)}`;
        const steps = [];
        for (let one = element; one && one !== root; one = one.parentElement) {
            steps.unshift(`:nth-child(${[...one.parentElement.children].indexOf(one) + 1})`);
        }
        return steps.length ? `main > ${steps.join(' > ')}` : 'main';
    }

    function isBusy() {
        const marked = getSelection();
        return document.activeElement?.matches('main input, main select, main textarea')
            || (!marked.isCollapsed && main().contains(marked.anchorNode));
    }

    // Nobody must take what was told last for what is now.
    function unheard() {
        silence ||= setTimeout(() => {
            const note = document.createElement('p');
            note.id = 'unheard';
            note.className = 'bad';
            note.setAttribute('role', 'status');
            note.textContent = 'Not up to date: the collector does not answer.';
            main().prepend(note);
        }, SILENT_MS);
    }

    function heard() {
        clearTimeout(silence);
        silence = 0;
        document.getElementById('unheard')?.remove();
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
        const found = where => fresh.parentElement.querySelector(where);
        for (const where of opened) found(where)?.setAttribute('open', '');
        fresh.querySelectorAll('.wide').forEach((one, n) => { one.scrollLeft = scrolled[n] || 0; });
        if (focus) found(focus)?.focus({preventScroll: true});
        listen();
    }

    async function again() {
        timer = 0;
        if (document.hidden || isBusy()) return plan();
        try {
            const answer = await fetch(location.href, {headers: {accept: 'text/html'}});
            // Logged out meanwhile: the page that asks for the token is shown, nothing repeated.
            if (answer.redirected) return location.assign(answer.url);
            const text = await answer.text();
            if (answer.ok) heard(); else unheard();
            if (answer.ok && !isBusy()) replace(text);
            wait = answer.ok ? Math.min(wait * 1.3, LAST_MS) : LAST_MS;
        } catch {
            unheard();
            wait = LAST_MS;
        }
        plan();
    }

    function plan() {
        clearTimeout(timer);
        timer = 0;
        const here = main();
        if (!here) return;
        const refresh = Number(here.dataset.refresh || 0) * 1000;
        if (here.querySelector('.pending')) {
            timer = setTimeout(again, wait);
        } else if (refresh) {
            wait = FIRST_MS;
            timer = setTimeout(again, refresh);
        } else if (here.querySelector('[data-stream]') && !source && !document.hidden) {
            timer = setTimeout(again, REFUSED_MS);
        }
    }

    function show(message) {
        heard();
        const told = JSON.parse(message.data);
        for (const [name, text] of Object.entries(told.texts || {})) {
            for (const one of document.querySelectorAll(`[data-live="${CSS.escape(name)}"]`)) {
                say(one, text);
            }
        }
        for (const [name, series] of Object.entries(told.minutes || {})) {
            const plot = document.querySelector(`.plot[data-live="${CSS.escape(name)}"]`);
            if (plot) draw(plot, series);
        }
    }

    function number(value) {
        return figures.format(value).replaceAll(',', '\u202f');
    }

    // The columns, and whatever else says their numbers: what points at them, and the table behind.
    function draw(plot, series) {
        const sums = series[0].map((_, n) => series.reduce((sum, one) => sum + one[n], 0));
        const most = Math.max(1, ...sums);
        const columns = plot.querySelectorAll('rect');
        const rows = plot.parentElement.querySelectorAll('tbody tr');
        say(plot.querySelector('.most'), number(most));
        say(plot.querySelector('desc'), 'The numbers are in the table below.');
        sums.forEach((_, n) => {
            let top = HEIGHT;
            series.forEach((one, k) => {
                const column = columns[n * series.length + k];
                const height = HEIGHT * one[n] / most;
                top -= height;
                column?.setAttribute('height', height.toFixed(2));
                column?.setAttribute('y', top.toFixed(2));
                const title = column?.querySelector('title');
                say(title, title?.textContent.replace(/: .* /, `: ${number(one[n])} `));
                say(rows[n]?.cells[k + 1], number(one[n]));
            });
        });
    }

    function listen() {
        const path = document.querySelector('[data-stream]')?.dataset.stream || '';
        if (path && source && !document.hidden) return;
        source?.close();
        source = null;
        if (!path || document.hidden) return;
        const mine = source = new EventSource(path);
        mine.onmessage = show;
        mine.onopen = heard;
        mine.onerror = () => {
            if (mine !== source) return;
            // It comes again by itself, unless it was refused: too many listen, the session ended.
            if (mine.readyState !== EventSource.CLOSED) return unheard();
            source = null;
            plan();
        };
    }

    document.addEventListener('visibilitychange', () => {
        // What was not asked for was not left unanswered.
        if (document.hidden) heard();
        listen();
        if (!document.hidden && !timer) plan();
    });
    // A page in the back-forward cache must not hold a connection.
    addEventListener('pagehide', () => { source?.close(); source = null; });
    addEventListener('pageshow', listen);
    listen();
    plan();
})();
