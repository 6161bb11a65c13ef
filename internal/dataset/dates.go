package dataset

import (
	"time"
)

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 86_400 * microsPerSecond

	minDay = -719162 // 0001-01-01: Python, for one, knows no year before
	maxDay = 2932896 // 9999-12-31
)

// moment is a date and a time of day somewhere.
type moment struct {
	days   int32
	micros int64 // since midnight
}

// in says when, in UTC, it was that date and time in a zone. A time that the
// zone's clocks skipped is refused; of one that they showed twice the first counts.
func (m moment) in(zone *time.Location) (int64, string) {
	naive := int64(m.days)*microsPerDay + m.micros
	offsetAt := func(micros int64) int64 {
		_, offset := time.UnixMicro(micros).In(zone).Zone()
		return int64(offset) * microsPerSecond
	}
	// Clocks change once in two days at the most: one of the offsets a day before
	// and a day after was in force. The larger gives the earlier time.
	before, after := offsetAt(naive-microsPerDay), offsetAt(naive+microsPerDay)
	for _, offset := range []int64{max(before, after), min(before, after)} {
		if offsetAt(naive-offset) == offset {
			return naive - offset, ""
		}
	}
	return 0, "doesn't exist in " + zone.String() + ": the clocks skipped it"
}

// parseDate reads an RFC 3339 full-date; fault says why it is none.
func parseDate(text []byte) (days int32, fault string) {
	if len(text) != 10 || text[4] != '-' || text[7] != '-' {
		return 0, "write it as YYYY-MM-DD"
	}
	year, month, day := number2(text, 0)*100+number2(text, 2), number2(text, 5), number2(text, 8)
	if number2(text, 0) < 0 || number2(text, 2) < 0 || month < 0 || day < 0 {
		return 0, "write it as YYYY-MM-DD"
	}
	return checkedDate(year, month, day)
}

func checkedDate(year, month, day int) (int32, string) {
	if month < 1 || month > 12 {
		return 0, "there is no such month"
	}
	if day < 1 || day > daysIn(year, month) {
		return 0, "the month has no such day"
	}
	return daysFrom(year, month, day), ""
}

// parseTime reads an RFC 3339 date-time as microseconds since 1970 in UTC.
// Digits of a second beyond the sixth are cut off; leap seconds are refused.
func parseTime(text []byte) (micros int64, fault string) {
	at, rest, fault := parseClock(text, false)
	if fault != "" {
		return 0, fault
	}
	offset, fault := parseOffset(rest)
	if fault != "" {
		return 0, fault
	}
	return int64(at.days)*microsPerDay + at.micros - offset*60*microsPerSecond, ""
}

// parseNaive reads a date-time without an offset, or a date alone.
func parseNaive(text []byte) (moment, string) {
	if len(text) == 10 {
		days, fault := parseDate(text)
		return moment{days: days}, fault
	}
	at, rest, fault := parseClock(text, true)
	if fault == "" && len(rest) > 0 {
		if _, fault = parseOffset(rest); fault == "" {
			fault = "write a T between date and time" // a blank there, but an offset: nearly RFC 3339
		}
	}
	return at, fault
}

const timeForm = "write it as YYYY-MM-DDTHH:MM:SSZ, or with an offset such as +01:00"

// parseClock reads the date and time of an RFC 3339 date-time, and returns
// what follows. A lax one has a blank in place of the T, or lacks seconds.
func parseClock(text []byte, lax bool) (at moment, rest []byte, fault string) {
	if len(text) < 16 || text[10]|0x20 != 't' && (!lax || text[10] != ' ') || text[13] != ':' {
		return at, nil, timeForm
	}
	if at.days, fault = parseDate(text[:10]); fault != "" {
		return at, nil, fault
	}
	hour, minute, second := number2(text, 11), number2(text, 14), 0
	rest = text[16:]
	switch {
	case len(rest) >= 3 && rest[0] == ':':
		second, rest = number2(rest, 1), rest[3:]
	case !lax:
		return at, nil, timeForm
	}
	switch {
	case hour < 0 || minute < 0 || second < 0:
		return at, nil, timeForm
	case hour > 23 || minute > 59:
		return at, nil, "there is no such time of day"
	case second == 60:
		return at, nil, "leap seconds can't be kept: send second 59"
	case second > 59:
		return at, nil, "there is no such time of day"
	}
	at.micros = int64(hour*3600+minute*60+second) * microsPerSecond
	if len(rest) > 0 && rest[0] == '.' {
		i, unit := 1, int64(microsPerSecond)
		for ; i < len(rest) && rest[i]-'0' <= 9; i++ {
			unit /= 10
			at.micros += int64(rest[i]-'0') * unit
		}
		if i == 1 {
			return at, nil, timeForm
		}
		rest = rest[i:]
	}
	return at, rest, ""
}

// parseOffset reads Z or ±HH:MM, in minutes.
func parseOffset(text []byte) (minutes int64, fault string) {
	if len(text) == 1 && text[0]|0x20 == 'z' {
		return 0, ""
	}
	if len(text) == 0 {
		return 0, "it has no offset from UTC: add Z or one such as +01:00"
	}
	if len(text) != 6 || text[0] != '+' && text[0] != '-' || text[3] != ':' {
		return 0, timeForm
	}
	hour, minute := number2(text, 1), number2(text, 4)
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 {
		return 0, "there is no such offset from UTC"
	}
	minutes = int64(hour*60 + minute)
	if text[0] == '-' {
		minutes = -minutes
	}
	return minutes, ""
}

// number2 reads two digits; −1 or less if they aren't there.
func number2(text []byte, i int) int {
	tens, ones := text[i]-'0', text[i+1]-'0'
	if tens > 9 || ones > 9 {
		return -1
	}
	return int(tens)*10 + int(ones)
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysFrom counts the days from 1970-01-01 to a date of the Gregorian
// calendar. Years are taken to begin in March, so that leap days come last.
func daysFrom(year, month, day int) int32 {
	if month <= 2 {
		year--
		month += 12
	}
	year += 400 // so that divisions never see a negative number
	era := year*365 + year/4 - year/100 + year/400
	return int32(era + (153*(month-3)+2)/5 + day - 1 - 719468 - 146097)
}

// civil is the inverse of daysFrom.
func civil(days int32) (year, month, day int) {
	t := time.Unix(int64(days)*86400, 0).UTC()
	return t.Year(), int(t.Month()), t.Day()
}

// parseLayout reads a date, or a date and time, as a layout says: YYYY, YY,
// MM, M, DD, D, HH, mm, ss (MM after HH is minutes too, SS seconds); anything
// else stands for itself.
func parseLayout(text []byte, layout string) (moment, string) {
	wrong := "its layout is to be " + layout
	part := map[byte]int{'M': 1, 'D': 1}
	i := 0
	clock := false
	for j := 0; j < len(layout); {
		letter := layout[j]
		size := 1
		for j+size < len(layout) && layout[j+size] == letter {
			size++
		}
		j += size
		switch {
		case letter == 'm', letter == 'M' && clock:
			letter = 'm'
		case letter == 'S':
			letter = 's'
		case letter == 'H' || letter == 'h':
			letter, clock = 'H', true
		}
		switch letter {
		case 'Y', 'M', 'D', 'H', 'm', 's':
			most := max(size, 2)
			v, n := 0, 0
			for i < len(text) && n < most && text[i]-'0' <= 9 {
				v = v*10 + int(text[i]-'0')
				i, n = i+1, n+1
			}
			if n == 0 || size > 1 && n != size {
				return moment{}, wrong
			}
			if letter == 'Y' && size == 2 {
				v += 1900 + 100*bit(v < 69)
			}
			part[letter] = v
		default:
			for range size {
				if i >= len(text) || text[i] != letter {
					return moment{}, wrong
				}
				i++
			}
		}
	}
	if i < len(text) {
		return moment{}, wrong
	}
	days, fault := checkedDate(part['Y'], part['M'], part['D'])
	if fault != "" {
		return moment{}, fault
	}
	if part['H'] > 23 || part['m'] > 59 || part['s'] > 59 {
		return moment{}, "there is no such time of day"
	}
	return moment{days: days, micros: int64(part['H']*3600+part['m']*60+part['s']) * microsPerSecond}, ""
}
