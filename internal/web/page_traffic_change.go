package web

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/spec"
)

// trafficChange is a change that somebody thinks of, and what it would do.
type trafficChange struct {
	modelHead
	Do       string // promote, canary, rollback
	Version  int
	Percent  int
	Seen     string // when the setting was made that it was thought of
	Reason   string
	Title    string
	Sentence string   // what will happen
	Also     []string // what else will, in a sentence each
	Warnings []string // what callers have to know
	Button   string

	next modelmanager.Traffic
}

func (v *visit) confirmTraffic() error {
	change, err := v.readChange(v.r.URL.Query())
	if err != nil {
		return err
	}
	return v.page("traffic-change", "models", change.Title, change)
}

// readChange works out what a change would do, from the fields of a form.
func (v *visit) readChange(form url.Values) (*trafficChange, error) {
	v.back = pathOf("models", v.r.PathValue("model"), "traffic")
	head, err := v.readModel("traffic")
	if err != nil {
		return nil, err
	}
	c := &trafficChange{modelHead: head, Do: form.Get("do"), Reason: strings.TrimSpace(form.Get("reason")), Seen: head.Traffic.At.UTC().Format(time.RFC3339Nano)}
	switch c.Do {
	case "promote", "canary":
		if c.Version, err = versionNumber(form.Get("version")); err != nil {
			return nil, err
		}
		if _, err := v.api().Version(v.ctx(), head.Name, c.Version); err != nil {
			return nil, err
		}
		c.Percent = 100
		if c.Do == "canary" {
			if c.Percent, err = strconv.Atoi(form.Get("percent")); err != nil || c.Percent < 1 || c.Percent > 99 {
				return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "the share is a whole number of percent from 1 to 99; %.50q isn't", form.Get("percent"))
			}
		}
		err = c.plan()
	case "rollback":
		err = v.planRollback(c)
	default:
		err = modelmanager.Errorf(modelmanager.CodeBadRequest, "%.50q is nothing that can be done with traffic", c.Do)
	}
	if err != nil {
		return nil, err
	}
	c.Also = besides(c.Traffic.Now(), c.next)
	return c, v.warn(c)
}

// plan says what promoting a version, or trying it on a share, would do.
func (c *trafficChange) plan() error {
	now := c.Traffic.Now()
	if c.Do == "promote" {
		c.next = modelmanager.All(c.Version)
		c.Title, c.Button = fmt.Sprintf("Promote version %d?", c.Version), fmt.Sprintf("Promote version %d", c.Version)
		c.Sentence = fmt.Sprintf("Version %d will answer every call of %s.", c.Version, c.Name)
		if others := answering(now, c.Version); len(others) > 0 {
			c.Sentence += " It takes over as soon as it is ready; until then " + listed(others, "and") + " " + agree(others, "answers", "answer") +
				" as before, and " + agree(others, "stays", "stay") + ", so that you can roll back."
		}
		return nil
	}
	others := modelmanager.Traffic{Versions: slices.DeleteFunc(slices.Clone(now.Versions), func(s modelmanager.Share) bool { return s.Version == c.Version })}
	rest := others.Largest()
	if rest == 0 {
		return modelmanager.Errorf(modelmanager.CodeBadRequest,
			"version %d can't have a share: there is no other version that answers the rest of the calls. Promote it instead", c.Version)
	}
	c.next = modelmanager.Traffic{Versions: []modelmanager.Share{{Version: rest, Percent: 100 - c.Percent}, {Version: c.Version, Percent: c.Percent}}}
	if now.Shadow != c.Version {
		c.next.Shadow = now.Shadow
	}
	c.Title = fmt.Sprintf("Send %d %% to version %d?", c.Percent, c.Version)
	c.Button = fmt.Sprintf("Send %d %%", c.Percent)
	c.Sentence = fmt.Sprintf("Of 100 calls of %s, about %d will be answered by version %d and %d by version %d. Which of them answers a call is chance; "+
		"a program that sends a key with its calls, such as a customer’s number, gets the same version for the same key.",
		c.Name, c.Percent, c.Version, 100-c.Percent, rest)
	return nil
}

// answering names the versions that answer calls, but one.
func answering(traffic modelmanager.Traffic, but int) []string {
	var names []string
	for _, share := range traffic.Versions {
		if share.Version != but && share.Percent > 0 {
			names = append(names, fmt.Sprintf("version %d", share.Version))
		}
	}
	return names
}

// agree is the verb for so many.
func agree(names []string, one, several string) string {
	if len(names) == 1 {
		return one
	}
	return several
}

// besides says what a change does beside what it is made for: to versions that
// answer now and won't, and to shadows.
func besides(now, next modelmanager.Traffic) []string {
	var also []string
	if len(answering(next, 0)) > 1 || len(answering(now, 0)) > 1 {
		for _, share := range now.Versions {
			stays := slices.ContainsFunc(next.Versions, func(s modelmanager.Share) bool { return s.Version == share.Version && s.Percent > 0 })
			if share.Percent > 0 && !stays {
				also = append(also, fmt.Sprintf("Version %d, which answers %d %% now, gets no calls any more.", share.Version, share.Percent))
			}
		}
	}
	if now.Shadow != 0 && now.Shadow != next.Shadow {
		also = append(also, fmt.Sprintf("Version %d gets a copy of every call now, as a shadow. That ends.", now.Shadow))
	}
	if next.Shadow != 0 && now.Shadow != next.Shadow {
		also = append(also, fmt.Sprintf("Version %d gets a copy of every call, as a shadow; its answers aren’t used.", next.Shadow))
	}
	return also
}

func (v *visit) planRollback(c *trafficChange) error {
	history, err := v.api().TrafficHistory(v.ctx(), c.Name)
	if err != nil {
		return err
	}
	before, found := registry.Before(history.History)
	if !found {
		return modelmanager.Errorf(modelmanager.CodeConflict, "no setting of %s's traffic is kept from before the one in force; there is nothing to go back to", c.Name)
	}
	c.next, c.Version = before, before.Largest()
	c.Title, c.Button = "Roll back?", "Roll back"
	c.Sentence = fmt.Sprintf("The setting before comes back: %s will answer the calls of %s, as set %s by %s.",
		listed(sharesWords(before), "and"), c.Name, ago(time.Now(), before.At), orSomebody(before.By))
	return nil
}

func orSomebody(by string) string {
	if by == "" {
		return "somebody"
	}
	return by
}

// warn adds what callers have to know: changes that can break them, and a
// version that can't answer now.
func (v *visit) warn(c *trafficChange) error {
	if c.Canary != nil {
		c.Warnings = append(c.Warnings, fmt.Sprintf("Version %d is taking over step by step; this ends that.", c.Canary.Version))
	} else if c.Traffic.Pending != nil {
		c.Warnings = append(c.Warnings, fmt.Sprintf("The change that isn’t in force yet, to %s, is dropped.", trafficWords(c.Traffic.Traffic)))
	}
	live := c.Traffic.Now().Largest()
	target, err := v.api().Version(v.ctx(), c.Name, c.Version)
	if err != nil {
		return err
	}
	if target.Health.State == modelmanager.Unhealthy {
		c.Warnings = append(c.Warnings, fmt.Sprintf("Version %d can't answer now. %s", c.Version, sentence(target.Health.Reason)))
	}
	if live == 0 || live == c.Version {
		return nil
	}
	to, err := spec.FromCanonical(string(target.Spec))
	if err != nil {
		return err
	}
	for _, change := range spec.Diff(c.Spec, to) {
		if change.Breaking {
			c.Warnings = append(c.Warnings, "Can break callers: "+sentence(change.Message))
		}
	}
	return nil
}

// changeTraffic does what was confirmed, unless somebody has set the traffic
// since the setting that was seen then: the API compares.
func (v *visit) changeTraffic() error {
	c, err := v.readChange(v.r.PostForm)
	if err != nil {
		return err
	}
	seen, err := time.Parse(time.RFC3339Nano, v.r.PostFormValue("seen"))
	if err != nil {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the form doesn't say which traffic it is about; go back, reload the page, and decide again")
	}
	var set modelmanager.TrafficInfo
	if c.Do == "rollback" {
		set, err = v.api().RollbackAfter(v.ctx(), c.Name, seen, c.Reason)
	} else {
		c.next.Reason = c.Reason
		set, err = v.api().SetTrafficAfter(v.ctx(), c.Name, seen, c.next)
	}
	if err != nil {
		return err
	}
	note := sentence("from now on, " + trafficWords(set.Traffic) + " " + answerVerb(set.Traffic))
	if set.Pending != nil {
		now := sharesWords(set.Now())
		note = fmt.Sprintf("It is set: %s %s as soon as %s ready. Until then, %s %s on answering.", trafficWords(set.Traffic), answerVerb(set.Traffic),
			agree(sharesWords(set.Traffic), "it is", "they are"), listed(now, "and"), agree(now, "goes", "go"))
	}
	return v.redirect(pathOf("models", c.Name, "traffic"), note)
}
