package kube

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev"
)

// Settings of traffic are kept as text, which people can read and which costs
// the cluster a fifth of what a tree does:
//
//	7=90,8=10
//	2026-03-14T15:09:26.535897Z 7=90,8=10 shadow=9 back=1 by="ana" reason="canary"
//
// The first is an object's traffic; the second, an entry of its history, where
// "-" stands for no version at all.

const noVersions = "-"

func formatShares(shares []modelmanager.Share) string {
	var text []byte
	for i, share := range shares {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, int64(share.Version), 10)
		text = append(text, '=')
		text = strconv.AppendInt(text, int64(share.Percent), 10)
	}
	return string(text)
}

func parseShares(text string) ([]modelmanager.Share, error) {
	if text == "" {
		return nil, nil
	}
	shares := make([]modelmanager.Share, 0, strings.Count(text, ",")+1)
	for part := range strings.SplitSeq(text, ",") {
		version, percent, found := strings.Cut(part, "=")
		v, err := parseNumber(version)
		p, err2 := strconv.ParseUint(percent, 10, 8)
		if !found || err != nil || err2 != nil || p > 100 {
			return nil, fmt.Errorf("%.40q isn't a version's share, such as 7=90", part)
		}
		for _, other := range shares {
			if other.Version == v {
				return nil, fmt.Errorf("version %d appears twice in %.80q", v, text)
			}
		}
		shares = append(shares, modelmanager.Share{Version: v, Percent: int(p)})
	}
	return shares, nil
}

// parseNumber reads a version's number.
func parseNumber(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err == nil && n == 0 {
		err = errors.New("versions are numbered from 1")
	}
	return int(n), err
}

func formatSetting(setting modelmanager.Traffic) string {
	var b strings.Builder
	b.WriteString(formatTime(setting.At))
	b.WriteByte(' ')
	if len(setting.Versions) == 0 {
		b.WriteString(noVersions)
	}
	b.WriteString(formatShares(setting.Versions))
	if setting.Shadow != 0 {
		b.WriteString(" shadow=" + strconv.Itoa(setting.Shadow))
	}
	if setting.Back != 0 {
		b.WriteString(" back=" + strconv.Itoa(setting.Back))
	}
	if setting.Commit != "" {
		b.WriteString(" commit=" + strconv.Quote(setting.Commit))
	}
	if setting.By != "" {
		b.WriteString(" by=" + strconv.Quote(setting.By))
	}
	if setting.Reason != "" {
		b.WriteString(" reason=" + strconv.Quote(setting.Reason))
	}
	return b.String()
}

func parseSetting(text string) (setting modelmanager.Traffic, err error) {
	at, rest, _ := strings.Cut(text, " ")
	shares, rest, _ := strings.Cut(rest, " ")
	if setting.At, err = parseTime(at); err != nil {
		return setting, err
	}
	if shares == "" {
		return setting, fmt.Errorf("%.80q names no version", text)
	}
	if shares != noVersions {
		if setting.Versions, err = parseShares(shares); err != nil {
			return setting, err
		}
	}
	for rest != "" {
		key, value, found := strings.Cut(rest, "=")
		if !found {
			return setting, fmt.Errorf("%.80q isn't KEY=VALUE", rest)
		}
		if rest, err = readPart(&setting, key, value); err != nil {
			return setting, err
		}
	}
	return setting, nil
}

// readPart reads one part of a setting, and returns what follows it.
func readPart(setting *modelmanager.Traffic, key, value string) (rest string, err error) {
	switch key {
	case "by", "reason", "commit":
		quoted, err := strconv.QuotedPrefix(value)
		if err != nil {
			return "", fmt.Errorf("%s isn't in quotes: %.80q", key, value)
		}
		text, err := strconv.Unquote(quoted)
		if err != nil {
			return "", err
		}
		switch key {
		case "by":
			setting.By = text
		case "reason":
			setting.Reason = text
		case "commit":
			setting.Commit = text
		}
		return strings.TrimPrefix(value[len(quoted):], " "), nil
	case "shadow", "back":
		number, rest, _ := strings.Cut(value, " ")
		n, err := parseNumber(number)
		if err != nil {
			return "", fmt.Errorf("%s=%.40q: %w", key, number, err)
		}
		if key == "shadow" {
			setting.Shadow = n
		} else {
			setting.Back = n
		}
		return rest, nil
	default:
		return "", fmt.Errorf("%.40q is no part of a setting", key)
	}
}

func formatTime(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

func parseTime(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%.80q isn't a time, such as 2026-03-14T15:09:26Z", text)
	}
	return at.UTC(), nil
}
