// Puts into a page what differs of another one, so that focus, what was typed
// and what was opened stay: for pages that are kept up to date, and, as the
// swap "morph", for parts that htmx gets. Idiomorph does it; this says what it
// must leave alone.
(function () {
  'use strict';

  // What the visitor has set, and not the server.
  function visitors(attribute, element, quietly) {
    switch (attribute) {
      case 'open': return element.nodeName === 'DETAILS';
      case 'selected': case 'checked': return quietly;
      case 'value': return quietly && 'defaultValue' in element && element.value !== element.defaultValue;
    }
    return false;
  }

  // become makes the children of one element those of another. Quietly, forms
  // that somebody is filling in stay as they are.
  function become(old, now, quietly) {
    Idiomorph.morph(old, Array.from(now.childNodes), {
      morphStyle: 'innerHTML',
      callbacks: {
        beforeNodeMorphed: function (from, to) {
          if (from.nodeType !== 1) return true;
          if (from.hasAttribute('data-keep')) { // a script's own
            Array.from(to.attributes).forEach(function (a) { if (a.name.indexOf('data-') === 0) from.setAttribute(a.name, a.value); });
            return false;
          }
          return !(quietly && from.nodeName === 'FORM' && from.contains(document.activeElement));
        },
        beforeNodeRemoved: function (node) { return node.nodeType !== 1 || !node.hasAttribute('data-stay'); },
        beforeAttributeUpdated: function (attribute, element) { return !visitors(attribute, element, quietly); }
      }
    });
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
