package web

import (
	"strconv"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

func (w *Web) mountTraffic() {
	w.get("/models/{model}/traffic", (*visit).traffic)
	w.get("/models/{model}/traffic/change", (*visit).confirmTraffic)
	w.post("/models/{model}/traffic", (*visit).changeTraffic)
}

// trafficPage shows which versions answer, and offers to change it.
type trafficPage struct {
	modelHead
	Shares   []shareRow // who answers now
	Numbers  numbers
	History  []settingRow
	Rollback string // what it would bring back; "": nothing is kept
	Chosen   int    // preselected
	Only     int    // the only version that there is, if it answers every call; 0: there is something to promote

	Incomplete bool // what other servers have seen of the canary hasn't been waited for
}

type shareRow struct {
	modelmanager.Share
	Health modelmanager.Health
}

// Part is the share, between 0 and 1.
func (s shareRow) Part() float64 { return float64(s.Percent) / 100 }

// settingRow is a setting of the history, in words.
type settingRow struct {
	modelmanager.Traffic
	Words   string
	Pending bool // not in force yet
}

func (v *visit) traffic() error {
	head, err := v.readModel("traffic")
	if err != nil {
		return err
	}
	_, full := v.patience()
	page := trafficPage{modelHead: head, Incomplete: head.Canary != nil && !full}
	page.Chosen, _ = strconv.Atoi(v.query("version"))
	history, err := v.api().TrafficHistory(v.ctx(), head.Name)
	if err != nil {
		return err
	}
	for i, setting := range history.History {
		page.History = append(page.History, settingRow{setting, trafficWords(setting), i == 0 && head.Traffic.Pending != nil})
	}
	if before, found := registry.Before(history.History); found {
		page.Rollback = trafficWords(before)
	}
	if page.Numbers, err = v.numbers(head.ModelInfo); err != nil {
		return err
	}
	for _, share := range head.Traffic.Now().Versions {
		version, err := v.api().Version(v.ctx(), head.Name, share.Version)
		if err != nil {
			return err
		}
		page.Shares = append(page.Shares, shareRow{share, version.Health})
	}
	if shares := head.Traffic.Now().Versions; head.Traffic.Pending == nil && !page.Numbers.Several() && len(shares) == 1 && shares[0].Percent == 100 {
		page.Only = shares[0].Version
	}
	return v.page("traffic", "models", "Traffic of "+head.Name, page)
}
