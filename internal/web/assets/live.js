// Keeps pages up to date that show what changes by itself: their bar,
// [data-every], says every how many seconds. The page is fetched again, and
// what differs is put in place, so that focus, what was typed and what was
// opened stay. A job's page is told by a stream of events, data-events, and
// looks by itself while there is none. An answer that isn't ours, or is an
// error, changes nothing: the bar says since when nothing was heard, and it
// goes on trying.
(function () {
  'use strict';

  var become = window.modelManager.become;

  var timer, request;         // of the next look, and of the one under way
  var events, heard, again;   // the stream, when it last spoke, its next try
  var failures = 0, breaks = 0;
  var fresh = new Date();     // when what is shown was so
  var trouble = '';           // why it isn't up to date
  var said;

  function say(text) { document.dispatchEvent(new CustomEvent('mm:say', { detail: text })); }

  function bar() { return document.querySelector('[data-every]'); }

  // Whether updates are paused is kept for this tab, where the browser lets it.
  var pausedHere = false;
  function paused() {
    try { return sessionStorage.getItem('mm-paused') === 'yes'; } catch (e) { return pausedHere; }
  }
  function pause(yes) {
    pausedHere = yes;
    try { sessionStorage.setItem('mm-paused', yes ? 'yes' : 'no'); } catch (e) { /* for this page alone, then */ }
  }

  function clock(time) { return time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' }); }

  // What the bar says, and what its button does.
  function tell() {
    var b = bar();
    if (!b) return;
    var text = 'Kept up to date.';
    if (paused()) text = 'Paused. This was so at ' + clock(fresh) + '.';
    else if (trouble) text = 'Not up to date since ' + clock(fresh) + ': ' + trouble;
    var words = b.querySelector('span'), button = b.querySelector('button');
    if (words.textContent !== text) words.textContent = text;
    button.textContent = paused() ? 'Go on updating' : 'Pause updates';
    b.classList.toggle('stale', !paused() && trouble !== '');
    b.hidden = false;
  }

  function plan() {
    clearTimeout(timer);
    tell();
    var b = bar();
    if (!b || paused() || document.hidden || streaming()) return;
    var wait = Number(b.getAttribute('data-every')) * 1000;
    if (failures) wait = Math.min(30000, 1000 * Math.pow(2, failures)) * (0.75 + Math.random() / 2);
    timer = setTimeout(look, wait);
  }

  function succeeded() {
    if (trouble && bar()) say('This page is up to date again.');
    failures = 0;
    trouble = '';
    fresh = new Date();
  }

  function failed(why) {
    if (!trouble && bar()) say('This page can’t be kept up to date: ' + why);
    failures++;
    trouble = why;
  }

  function look() {
    clearTimeout(timer);
    if (request) request.abort();
    var mine = request = new AbortController();
    var late = setTimeout(function () { mine.abort(); }, 15000);
    var b = bar();
    fetch(b && b.getAttribute('data-page') || location.pathname + location.search, {
      headers: { 'Mm-Live': '1', 'Accept': 'text/html' }, redirect: 'manual', cache: 'no-store', signal: mine.signal
    }).then(function (response) {
      if (response.headers.get('Mm-Live') !== '1') throw new Error('there is no answer from the server. Trying again.');
      if (response.status === 401) throw new Error('you are signed out. Reload the page to sign in.');
      if (response.status === 404 || response.status === 410) throw new Error('it isn’t there any more.');
      if (!response.ok) throw new Error('the server answers with an error. Trying again.');
      return response.text();
    }, function () {
      throw new Error('there is no answer from the server. Trying again.');
    }).then(function (text) {
      if (mine !== request) return;
      succeeded();
      show(new DOMParser().parseFromString(text, 'text/html'));
    }).catch(function (error) {
      if (mine === request) failed(error.message);
    }).then(function () {
      clearTimeout(late);
      if (mine !== request) return;
      request = null;
      if (!again) stream();
      plan();
    });
  }

  function show(page) {
    var now = page.querySelector('main');
    if (!now) return;
    document.title = page.title;
    become(document.querySelector('main'), now, true);
    speak();
  }

  // What a screen reader is told of what has changed.
  function speak() {
    var spoken = document.querySelector('[data-said]');
    if (!spoken) return;
    var text = spoken.getAttribute('data-said');
    if (said !== undefined && said !== text) say(text);
    said = text;
  }

  function streaming() { return events && events.readyState === EventSource.OPEN; }

  function stream() {
    clearTimeout(again);
    again = 0;
    var b = bar(), address = b && b.getAttribute('data-events');
    if (!address || paused()) { hangUp(); return; }
    if (events) return;
    var mine = events = new EventSource(address);
    heard = Date.now();
    function hear() { heard = Date.now(); breaks = 0; succeeded(); plan(); }
    mine.addEventListener('open', hear);
    mine.addEventListener('still', hear);
    mine.addEventListener('job', function (event) {
      hear();
      var part = document.querySelector('[data-live]');
      if (!part) return;
      var now = new DOMParser().parseFromString(event.data, 'text/html').body;
      become(part, now, true);
      speak();
    });
    mine.addEventListener('end', function () { hangUp(); look(); });
    mine.addEventListener('error', function () { if (mine === events) broken(); });
  }

  function hangUp() {
    clearTimeout(again);
    again = 0;
    if (events) events.close();
    events = null;
  }

  // A browser comes back by itself only where the connection broke, and not
  // where somebody answered something else.
  function broken() {
    hangUp();
    breaks++;
    again = setTimeout(stream, Math.min(30000, 1000 * Math.pow(2, breaks)) * (0.75 + Math.random() / 2));
    look();
  }

  setInterval(function () { if (events && Date.now() - heard > 45000) broken(); }, 5000);

  function begin() {
    stream();
    if (document.querySelector('[data-incomplete]')) look();
    else plan();
  }

  document.addEventListener('DOMContentLoaded', function () {
    fresh = new Date();
    speak();
    document.addEventListener('click', function (event) {
      var b = bar();
      if (!b || event.target !== b.querySelector('button')) return;
      pause(!paused());
      if (paused()) { hangUp(); if (request) request.abort(); request = null; plan(); } else { look(); }
      say(b.querySelector('span').textContent);
    });
    // Another part of the page is on its way, or has come.
    document.addEventListener('htmx:beforeRequest', function () {
      clearTimeout(timer);
      if (request) request.abort();
      request = null;
    });
    document.addEventListener('htmx:afterRequest', function () { setTimeout(begin, 0); });
    document.addEventListener('visibilitychange', function () {
      if (document.hidden || !bar()) clearTimeout(timer);
      else if (!paused() && !streaming()) look();
    });
    // A page that is kept for the way back stops, and goes on when it is shown again.
    window.addEventListener('pagehide', function () { clearTimeout(timer); hangUp(); });
    window.addEventListener('pageshow', function (event) { if (event.persisted && bar() && !paused()) look(); });
    begin();
  });
})();
