package activity

import (
	"context"
	"maps"
	"slices"
	"time"

	"modelmanager.dev"
)

// minutes is how many of them a model's activity shows.
const minutes = int(Kept / coarse)

// modelPart is what one server has of a version in the last hour. One part has
// no version: it tells since when the server counts.
type modelPart struct {
	Version int       `json:"version"`
	Since   time.Time `json:"since,omitzero"`
	Slots   []Slot    `json:"slots,omitempty"`
	// Replicas are those of each minute from From on.
	From     int64 `json:"from,omitempty"` // seconds since 1970
	Replicas []int `json:"replicas,omitempty"`
}

// firstMinute is where the hour begins that ends with the minute under way.
func firstMinute(now time.Time) int64 {
	return floor(now.Unix(), coarse) - int64(minutes-1)*int64(coarse/time.Second)
}

func (s *Service) ownModel(model string) []modelPart {
	now := s.config.Now()
	from := firstMinute(now)
	own := map[int]*modelPart{}
	of := func(version int) *modelPart {
		if own[version] == nil {
			own[version] = &modelPart{Version: version}
		}
		return own[version]
	}
	for version, slots := range s.config.Recorder.model(model, now.Add(-Kept)) {
		if len(slots) > 0 {
			of(version).Slots = slots
		}
	}
	for version, counts := range s.replicas.minutes(model, from, minutes) {
		part := of(version)
		part.From, part.Replicas = from, counts
	}
	list := make([]modelPart, 0, len(own)+1)
	list = append(list, modelPart{Since: s.since})
	for _, part := range own {
		list = append(list, *part)
	}
	return list
}

// Model returns what a model's versions did in the last hour, on all servers.
func (s *Service) Model(ctx context.Context, model string) modelmanager.ModelActivity {
	parts, err := s.model.About(ctx, model)
	from := firstMinute(s.config.Now())
	versions, since := map[int]*[minutes]minute{}, s.since
	index := func(second int64) int { return int((second - from) / int64(coarse/time.Second)) }
	for _, part := range parts {
		if part.Version == 0 {
			since = later(since, part.Since)
			continue
		}
		v := versions[part.Version]
		if v == nil {
			v = new([minutes]minute)
			versions[part.Version] = v
		}
		for _, slot := range part.Slots {
			if i := index(slot.At); slot.At >= from && i < minutes {
				v[i].counts = v[i].counts.Plus(slot.Counts)
			}
		}
		for k, n := range part.Replicas {
			second := part.From + int64(k)*int64(coarse/time.Second)
			if i := index(second); second >= from && i < minutes {
				v[i].replicas = max(v[i].replicas, n)
			}
		}
	}
	start := time.Unix(from, 0).UTC()
	activity := modelmanager.ModelActivity{
		Model: model, From: start, To: start.Add(Kept), KnownSince: since.UTC(), Versions: []modelmanager.VersionMinutes{}, Incomplete: incomplete(err),
	}
	for _, number := range slices.Sorted(maps.Keys(versions)) {
		if shown := show(number, start, versions[number]); len(shown.Minutes) > 0 {
			activity.Versions = append(activity.Versions, shown)
		}
	}
	return activity
}

// minute is one minute of a version, of all servers.
type minute struct {
	counts   Counts
	replicas int
}

func show(number int, start time.Time, all *[minutes]minute) modelmanager.VersionMinutes {
	shown := modelmanager.VersionMinutes{Version: number}
	var total Counts
	for i, m := range all {
		if m.counts.Calls == 0 && m.replicas == 0 {
			continue
		}
		total = total.Plus(m.counts)
		shown.Minutes = append(shown.Minutes, modelmanager.MinuteActivity{
			At: start.Add(time.Duration(i) * coarse), Replicas: m.replicas, CallCounts: m.counts.Public(),
		})
	}
	shown.Total = total.Public()
	return shown
}

// Since returns what became of the calls of a model's versions since a time,
// an hour back at most. The ten seconds in which that time lies count as a
// whole; where only minutes are known any more, which is so of versions with
// many calls, that minute doesn't count. An error says that not all servers
// answered; what the others counted comes with it.
func (s *Service) Since(ctx context.Context, model string, since time.Time) (map[int]Counts, error) {
	parts, err := s.model.About(ctx, model)
	sum := map[int]Counts{}
	for _, part := range parts {
		for _, slot := range part.Slots {
			if slot.At >= since.Unix() || slot.Seconds <= int64(fine/time.Second) && slot.At+slot.Seconds > since.Unix() {
				sum[part.Version] = sum[part.Version].Plus(slot.Counts)
			}
		}
	}
	return sum, err
}
