// Puts into a page what differs of another one, so that focus, what was typed
// and what was opened stay: for pages that are kept up to date, and, as the
// swap "morph", for parts that htmx gets.
(function () {
  'use strict';

  // become makes the children of one element those of another. Quietly, forms
  // that somebody is filling in stay as they are.
  function become(old, now, quietly) {
    var focused = document.activeElement;
    children(old, now, quietly);
    if (focused && focused !== document.activeElement && document.contains(focused)) focused.focus({ preventScroll: true });
  }

  function key(node) {
    if (node.nodeType !== 1) return '';
    var own = node.id || node.getAttribute('data-key') || node.getAttribute('aria-labelledby');
    if (!own && node.nodeName === 'OPTION') own = node.value;
    return own ? node.nodeName + ' ' + own : '';
  }

  // What the visitor has set, and not the server.
  function visitors(element, attribute) {
    return attribute === 'open' && element.nodeName === 'DETAILS' || attribute === 'selected' || attribute === 'checked';
  }

  function stays(node) { return node.nodeType === 1 && node.hasAttribute('data-stay'); }

  function drop(node) { if (!stays(node)) node.remove(); }

  function one(old, now, quietly) {
    if (old.nodeType !== 1) {
      if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue;
      return;
    }
    if (old.hasAttribute('data-keep')) { // a script's own
      Array.from(now.attributes).forEach(function (a) { if (a.name.indexOf('data-') === 0) old.setAttribute(a.name, a.value); });
      return;
    }
    if (quietly && old.nodeName === 'FORM' && old.contains(document.activeElement)) return;
    Array.from(old.attributes).forEach(function (a) { if (!now.hasAttribute(a.name) && !visitors(old, a.name)) old.removeAttribute(a.name); });
    Array.from(now.attributes).forEach(function (a) {
      if (old.getAttribute(a.name) !== a.value && !visitors(old, a.name)) old.setAttribute(a.name, a.value);
    });
    children(old, now, quietly);
  }

  // One child is taken for another by its key; what has none, by its kind, in order.
  function children(old, now, quietly) {
    var keyed = {}, used = new Set(), next = old.firstChild;
    Array.from(old.childNodes).forEach(function (child) { if (key(child)) keyed[key(child)] = child; });

    function alike(child) {
      var found = next;
      if (child.nodeType === 1) while (found && (key(found) || found.nodeName !== child.nodeName)) found = found.nextSibling;
      if (!found || key(found) || found.nodeName !== child.nodeName) return null;
      next = found; // what is before it is gone, or has a key, and will be found by that
      return found;
    }

    Array.from(now.childNodes).forEach(function (child) {
      while (next && stays(next)) next = next.nextSibling;
      var match = key(child) ? keyed[key(child)] : alike(child);
      if (!match) {
        used.add(old.insertBefore(document.importNode(child, true), next));
        return;
      }
      if (match === next) next = next.nextSibling;
      else old.insertBefore(match, next);
      delete keyed[key(child)];
      used.add(match);
      one(match, child, quietly);
    });
    Array.from(old.childNodes).forEach(function (child) { if (!used.has(child)) drop(child); });
  }

  window.modelManager = { become: become };

  htmx.defineExtension('morph', {
    isInlineSwap: function (swap) { return swap === 'morph'; },
    handleSwap: function (swap, target, fragment) {
      if (swap !== 'morph') return false;
      become(target, fragment.querySelector('#' + target.id), false);
      return [target];
    }
  });
})();
