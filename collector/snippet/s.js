// The collector's own tracker for web pages: Scanova's functions, sent to this collector.
// docs/SNIPPET.md tells what it sends and when.
//
// What is served is this file without its comments and indentation (serving.py), so a comment
// has a line of its own, and no text and no pattern goes over the end of a line.
//
// Promises to the page it runs in: nothing is thrown into it, nothing is changed in it but what
// `history` calls, no value of a form is read, and the second copy of it does nothing.
(() => {
  const win = window, doc = document, nav = navigator, LOCAL = 'localStorage', TAB = 'sessionStorage';
  const MINUTE_MS = 60000, DAY_MS = 1440 * MINUTE_MS;
  // The vendor's names, where it tells them: _scnv holds the scan, with its id in `sid`.
  const SCAN = '_scnv', SESSION = '_scnv_s', UNSENT = '_scnv_q', VISITOR = '_scnv_v';
  const EVENTS_MAX = 50;
  // Browsers let 64 KiB outlive a page, and no character takes more than three bytes.
  const CHARS_MAX = 20000;
  const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

  let site, settings = {}, base = '/', consent, landed, scan, visit, address, depth;
  // Events that may not leave yet, and those that may, as JSON.
  let held = [], queue = [];
  // How many requests are under way, how many failed in a row, when the next may leave.
  let busy = 0, fails = 0, until = 0, isTold, isGone, timer, scrolling;

  const now = Date.now;
  const note = (...words) => settings.debug && console.log('[scanova]', ...words);
  const safe = (work) => (...given) => {
    try {
      return work(...given);
    } catch (error) {
      note('failed', error);
    }
  };
  const on = (target, name, work, options) => target.addEventListener(name, safe(work), options);

  const uuid = () => '10000000-1000-4000-8000-100000000000'.replace(/[018]/g, (digit) =>
    (digit ^ crypto.getRandomValues(new Uint8Array(1))[0] & 15 >> digit / 4).toString(16));
  // An e-mail address is nobody's business, and the collector refuses events that have one.
  const mask = (text) => text.replace(/[^\s?&=/:@]{1,64}(@|%40)[^\s?&/#]+/gi, '***');
  // A fragment is a route, or a place in the page, or a secret: only the first is part of a page.
  const here = () => mask(location.href.replace(/#(?![!/]).*/, ''));
  let cameFrom = mask(doc.referrer);

  // --- what is kept in the browser; where that is forbidden, nothing is kept in its stead

  const read = (store, key) => {
    try {
      return JSON.parse(win[store].getItem(key));
    } catch {}
  };
  const write = (store, key, value) => {
    try {
      value ? win[store].setItem(key, JSON.stringify(value)) : win[store].removeItem(key);
      return true;
    } catch {}
  };
  const setCookie = (value, age) => {
    doc.cookie = VISITOR + '=' + value + ';max-age=' + age + ';path=/;samesite=lax' +
      (location.protocol == 'https:' ? ';secure' : '');
  };
  const findCookie = () => (doc.cookie.match('(?:^|; )' + VISITOR + '=([\\da-f-]{36})') || [])[1];
  // Without cookies there is no visitor: an id that ends with the page would count each as one.
  const visitor = safe(() => {
    findCookie() || setCookie(uuid(), 31536000);
    return findCookie();
  });
  const session = () => {
    visit = read(LOCAL, SESSION) || visit;
    if (!visit || now() - visit.at > 30 * MINUTE_MS) visit = {id: uuid()};
    visit.at = now();
    write(LOCAL, SESSION, visit);
    return visit.id;
  };
  const scanSession = () => {
    if (landed) write(LOCAL, SCAN, scan = {sid: landed, exp: now() + 60 * DAY_MS});
    landed = 0;
    const kept = read(LOCAL, SCAN) || scan;
    return kept && !(kept.exp < now()) && UUID.test(kept.sid) ? kept.sid : undefined;
  };
  const forget = () => {
    held = [];
    queue = [];
    scan = visit = undefined;
    write(LOCAL, SCAN);
    write(LOCAL, SESSION);
    write(TAB, UNSENT);
    if (findCookie()) setCookie('', 0);
  };

  // --- from a call to the queue

  const isRefused = () => consent == 'denied' || nav.globalPrivacyControl;
  const mayLeave = () => site && !isRefused() && consent != 'pending' && !doc.prerendering;

  const record = (type, metadata) => {
    if (isRefused() || !type) return note('not sent', type);
    held.push({
      event_id: uuid(),
      event_type: type + '',
      page_url: here(),
      referrer: cameFrom,
      timestamp: new Date().toISOString(),
      device: {
        user_agent: nav.userAgent,
        screen_width: screen.width,
        screen_height: screen.height,
        language: nav.language,
        webdriver: nav.webdriver || undefined
      },
      // As it is now: the page may go on to change it.
      metadata: JSON.parse(JSON.stringify(metadata || {}))
    });
    held = held.slice(-EVENTS_MAX);
    release();
  };
  const release = () => {
    if (!mayLeave()) return;
    // Also where the landing page has no event: a back end, or a later page, may want to know.
    scanSession();
    held.splice(0).forEach(enqueue);
  };
  const enqueue = (event) => {
    event.scan_session_id = scanSession();
    if (!event.scan_session_id && settings.requireScan !== false) {
      return note('not sent without a scan', event);
    }
    event.site_id = site;
    event.consent = consent;
    event.web_session_id = session();
    event.visitor_id = visitor();
    const text = JSON.stringify(event);
    if (text.length > CHARS_MAX) return note('too large', event);
    queue.push(text);
    queue = queue.slice(-EVENTS_MAX);
    later(0);
  };

  // --- from the queue to the collector

  const later = (ms) => {
    clearTimeout(timer);
    // Beyond this many milliseconds a timer fires at once.
    timer = setTimeout(flush, Math.min(ms, 2e9));
  };
  const flush = safe(() => {
    if (!mayLeave()) return;
    takeBack();
    // Under way without a network, it would be lost with the page.
    if (busy || !queue.length || nav.onLine === false) return;
    until > now() ? later(until - now()) : send();
  });
  const send = (isLeaving) => {
    let count = 0, chars = 0;
    while (count < queue.length && (chars += queue[count].length) < CHARS_MAX) count++;
    const batch = queue.splice(0, count || 1);
    const isOne = batch.length < 2;
    const url = base + (isOne ? 'ct' : 'collect/batch');
    // As text it needs no preflight; the collector takes it for JSON all the same.
    const payload = isOne ? batch[0] : '{"events":[' + batch + ']}';
    // A beacon tells nothing of its fate; and where a page sends no referrer the Fetch standard has
    // it hide its origin, without which the collector refuses it.
    if (isLeaving && !('keepalive' in Request.prototype)) {
      return nav.sendBeacon(url, payload) || (queue = batch.concat(queue));
    }
    busy++;
    fetch(url, {
      method: 'POST',
      body: payload,
      keepalive: true,
      credentials: 'omit',
      signal: AbortSignal.timeout && AbortSignal.timeout(MINUTE_MS / 2)
    }).then(safe((answer) => {
      const status = answer.status;
      if (status == 429 || status == 408 || status > 499) {
        return again(batch, answer.headers.get('retry-after'));
      }
      busy--;
      fails = until = 0;
      if (settings.debug) answer.text().then((text) => note(status, text, payload));
      later(0);
    }), safe(() => {
      // To a page that is gone every request has failed, also those that outlive it.
      isGone ? busy-- : again(batch);
    }));
  };
  const again = (batch, after) => {
    busy--;
    // Consent may have been withdrawn while it was under way.
    if (isRefused()) return;
    queue = batch.concat(queue).slice(-EVENTS_MAX);
    const toldMs = after ? (isNaN(after) ? Date.parse(after) - now() : after * 1000) || 0 : 0;
    const ownMs = 1000 * 2 ** Math.min(fails++, 9) * (1 + Math.random()) / 2;
    isTold = toldMs > 0;
    until = now() + Math.max(toldMs, ownMs);
    note('again in', until - now(), 'ms');
    later(until - now());
    if (doc.hidden) keep();
  };

  // What cannot be sent on leaving waits in the tab for its next page.
  const takeBack = () => {
    const kept = read(TAB, UNSENT);
    if (!kept) return;
    write(TAB, UNSENT);
    if (kept.until > until) {
      until = kept.until;
      isTold = true;
    }
    queue = kept.events.concat(queue).slice(-EVENTS_MAX);
  };
  const keep = () => {
    if (!queue.length || !mayLeave()) return;
    takeBack();
    if (write(TAB, UNSENT, {until: isTold ? until : 0, events: queue})) queue = [];
  };
  const leave = () => {
    if (queue.length && mayLeave() && until <= now() && nav.onLine !== false) send(true);
    keep();
  };

  // --- what is seen without being told

  const moved = safe((isShownAgain) => {
    const next = here();
    if (next == address && !isShownAgain) return;
    if (next != address && address) cameFrom = address;
    address = next;
    depth = 0;
    if (settings.autoPageview) record('pageview');
  });
  const clicked = (event) => {
    const element = event.isTrusted && event.target.closest('a,button,[role=button]');
    if (!element) return;
    const get = (name) => element.getAttribute(name);
    // What can be edited holds what was typed.
    const isTyped = element.isContentEditable || element.querySelector('[contenteditable]');
    const text = get('data-scnv-name') || (!isTyped && element.innerText) || get('aria-label') || '';
    record('click', {
      element_type: element.tagName,
      element_text: mask(text.trim().replace(/\s+/g, ' ')).slice(0, 100),
      destination_url: /^https?:/.test(element.href) ? mask(element.href) : undefined
    });
  };
  const submitted = (event) => {
    // By attribute: the property of a form is its field where one has the name.
    const get = (name) => event.target.getAttribute(name);
    record('form_submit', {
      form_name: mask(get('data-scnv-name') || get('aria-label') || get('name') || get('id') ||
        'unnamed-form'),
      form_action: mask(get('action') || location.pathname)
    });
  };
  const scrolled = safe(() => {
    scrolling = 0;
    const seen = (scrollY + innerHeight) / doc.documentElement.scrollHeight * 100;
    // At the top nobody has scrolled: a new page of an application begins there. One percent is
    // for fractions of a pixel.
    while (scrollY > 0 && depth < 100 && seen + 1 >= depth + 25) {
      record('scroll', {scroll_depth: depth += 25});
    }
  });

  // --- the three functions

  const decide = (value) => {
    // What is not understood is no consent; where nothing is said, what was said before holds.
    if (value !== undefined) consent = /^(granted|pending)$/.test(value) ? value : 'denied';
    isRefused() ? forget() : release();
  };
  const begin = (id, options) => {
    if (site || !id) return note('init is ignored');
    settings = Object.assign({}, options);
    site = id + '';
    if (settings.endpoint) base = settings.endpoint.replace(/\/*$/, '/');
    landed = new URLSearchParams(location.search).get('scnv');
    landed = UUID.test(landed) && landed;
    note('site', site, 'to', base);
    on(win, 'pagehide', () => {
      leave();
      isGone = true;
    });
    on(doc, 'visibilitychange', () => doc.hidden ? leave() : flush());
    on(doc, 'prerenderingchange', release);
    on(win, 'pageshow', (event) => {
      isGone = false;
      if (event.persisted) moved(true);
      flush();
    });
    on(win, 'online', () => {
      if (!isTold) until = 0;
      flush();
    });
    if (settings.autoClicks) on(doc, 'click', clicked, true);
    if (settings.autoForms) on(doc, 'submit', submitted, true);
    if (settings.autoScroll) {
      on(win, 'scroll', () => scrolling = scrolling || setTimeout(scrolled, 200), {passive: true});
    }
    decide(settings.consent);
    moved();
    // Also what a page before could not send.
    later(0);
    on(win, 'popstate', () => moved());
    for (const name of ['pushState', 'replaceState']) {
      const original = history[name];
      history[name] = function () {
        const result = original.apply(this, arguments);
        moved();
        return result;
      };
    }
  };
  const commands = {init: begin, track: record, consent: decide};

  safe(() => {
    const stub = win.scanova, first = win.__scnv, script = doc.currentScript;
    const scanova = win.scanova = win.__scnv = first || safe((name, ...given) => {
      commands[name](...given);
    });
    if (script && script.src) base = new URL('.', script.src).href;
    for (const call of stub != first && stub && stub.q || []) scanova(...call);
  })();
})();
