package web

import (
	"modelmanager.dev"
)

// card reads and cleans the card of the version that stands for a model. A
// model may have none, and one that can't be read takes no page away.
func (v *visit) card(head modelHead) (card, error) {
	number := head.Traffic.Now().Largest()
	if number == 0 {
		number = head.Latest
	}
	if head.Spec.Card == "" || number == 0 {
		return card{}, nil
	}
	text, err := v.api().Card(v.ctx(), head.Name, number)
	if err != nil {
		if modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
			v.web.Logger.WarnContext(v.ctx(), "a model's card can't be read", "model", head.Name, "version", number, "error", err)
		}
		return card{}, nil
	}
	html, err := v.web.cards.render(text)
	return card{HTML: html}, err
}
