package web

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/wording"
)

// liveView is the part of a job's page that changes while it runs.
type liveView struct {
	Word, Class string
	Sentence    string
	Percent     int // −1: it isn't known how much there is
	Final       bool
	Read        string
	Of          string // of how many rows; "": not known
	Predicted   int64
	Rejected    int64
	Share       string // of the rejected rows
	Time        string // it took, or has taken
	Left        string // estimated; "": not known
	Cost        string
	Speed       string
	Said        string // to screen readers, which don't want to hear every row
}

func liveOf(job modelmanager.Job, now time.Time) liveView {
	live := liveView{Percent: -1, Final: job.State.Final(), Predicted: job.Rows.Predicted, Rejected: job.Rows.Rejected, Read: count(job.Rows.Read)}
	live.Word, live.Class = stateWord(job)
	live.Sentence = jobSentence(job)
	if job.Rows.Read > 0 && job.Rows.Rejected > 0 {
		live.Share = percentText(float64(job.Rows.Rejected) / float64(job.Rows.Read))
	}
	done := progressOf(job)
	if done >= 0 {
		live.Percent = int(math.Floor(done * 100))
	}
	if job.Rows.Total > 0 && !live.Final {
		live.Of = count(job.Rows.Total)
	}
	if job.Started != nil {
		end := now
		if job.Finished != nil {
			end = *job.Finished
		}
		took := end.Sub(*job.Started)
		live.Time = spanText(took)
		if took > time.Second && job.Rows.Read > 0 {
			live.Speed = count(int64(float64(job.Rows.Read)/took.Seconds())) + " rows a second"
		}
		if !live.Final && done > 0.01 && took > 2*time.Second {
			live.Left = "about " + spanText(time.Duration(float64(took)*(1-done)/done))
		}
	}
	live.Cost = wording.Cost(job.CPUSeconds)
	live.Said = live.Word
	if !live.Final && live.Percent >= 0 {
		live.Said = fmt.Sprintf("%s, %d percent", live.Word, live.Percent/10*10)
	}
	return live
}

// progressOf is how much of a job is done, 0 to 1; −1 if nobody knows.
func progressOf(job modelmanager.Job) float64 {
	switch {
	case job.State == modelmanager.JobSucceeded:
		return 1
	case job.Rows.Total > 0:
		return math.Min(1, float64(job.Rows.Read)/float64(job.Rows.Total))
	case job.Shards.Total > 1:
		return float64(job.Shards.Done) / float64(job.Shards.Total)
	}
	return -1
}

func jobSentence(job modelmanager.Job) string {
	if job.Reason != "" {
		if job.State == modelmanager.JobCancelled || strings.HasPrefix(job.Reason, "is ") || strings.HasPrefix(job.Reason, "took ") {
			return "The job " + strings.TrimSuffix(job.Reason, ".") + "."
		}
		return sentence(asLabelled(job.Reason))
	}
	switch {
	case job.State == modelmanager.JobQueued:
		return "The job starts as soon as there is room for it. You can close this page; it goes on without you."
	case job.State == modelmanager.JobRunning:
		return "You can close this page; the job goes on without you."
	case job.State == modelmanager.JobSucceeded && job.Rows.Rejected > 0 && job.Rows.Predicted == 0:
		return "No row could be predicted."
	case job.State == modelmanager.JobSucceeded && job.Rows.Rejected > 0:
		return fmt.Sprintf("%s predicted, and %s set aside with the reason.", plural(job.Rows.Predicted, "row"), plural(job.Rows.Rejected, "row"))
	case job.State == modelmanager.JobSucceeded:
		return "Every row was predicted."
	}
	return ""
}

func percentText(share float64) string {
	switch percent := share * 100; {
	case percent < 0.1:
		return "less than 0.1%"
	case percent < 10:
		return fmt.Sprintf("%.1f%%", percent)
	default:
		return fmt.Sprintf("%.0f%%", percent)
	}
}

// spanText is a length of time as people say it: "3 seconds", "2 h 5 min".
func spanText(d time.Duration) string {
	switch {
	case d < 950*time.Millisecond:
		return "less than a second"
	case d < 90*time.Second:
		return plural(int64(math.Round(d.Seconds())), "second")
	case d < 90*time.Minute:
		return plural(int64(math.Round(d.Minutes())), "minute")
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return plural(int64(math.Round(d.Hours()/24)), "day")
}

// liveKeepAlive is how often a quiet stream says that it is there.
const liveKeepAlive = 15 * time.Second

// jobLive streams the part of a job's page that changes, as server-sent events:
// "job" with that part as HTML, "still" now and then, and "end" when the job has ended.
func (v *visit) jobLive() error {
	id := v.r.PathValue("job")
	job, err := v.api().Job(v.ctx(), id)
	if err != nil {
		return err
	}
	v.beginEvents()
	if job.State.Final() {
		return v.sendLive(job)
	}
	jobs := make(chan modelmanager.Job)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// What ends it early, this server's shutdown above all, the browser
		// answers by coming back.
		_, _ = v.api().FollowJob(v.ctx(), id, func(job modelmanager.Job) {
			select {
			case jobs <- job:
			case <-v.ctx().Done():
			}
		})
	}()
	ticker := time.NewTicker(liveKeepAlive)
	defer ticker.Stop()
	for {
		select {
		case job := <-jobs:
			if err := v.sendLive(job); err != nil || job.State.Final() {
				return nil
			}
		case <-ticker.C:
			if v.event("still", "here") != nil {
				return nil
			}
		case <-ended:
			return nil
		case <-v.ctx().Done():
			return nil
		}
	}
}

// sendLive sends an event. Its text is HTML, line by line.
func (v *visit) sendLive(job modelmanager.Job) error {
	var html bytes.Buffer
	page := jobPage{Job: job, Live: liveOf(job, time.Now())}
	if err := v.web.execute(&html, "job", "live", v.frame("", "", page)); err != nil {
		return err
	}
	if err := v.event("job", html.String()); err != nil || !job.State.Final() {
		return err
	}
	return v.event("end", string(job.State))
}
