package pipeline

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"

	"modelmanager.dev"
)

// segment is the rows that have one value of a feature, by their indexes.
type segment struct {
	feature, value string
	rows           []int
}

// segmentsOf cuts rows up by every feature of few values: enums, texts,
// booleans. Features come in their order, values in the order of an enum or of
// their appearance.
func segmentsOf(features []modelmanager.Field, rows []json.RawMessage) []segment {
	if len(rows) < 2*leastSegment {
		return nil
	}
	parsed := objects(rows)
	var segments []segment
	for _, feature := range features {
		switch {
		case feature.Type == modelmanager.Boolean, len(feature.Enum) > 0 && feature.Type != modelmanager.Array:
		case feature.Type == modelmanager.String && feature.Format == "":
		default:
			continue
		}
		segments = append(segments, segmentsBy(feature.Name, parsed)...)
	}
	return segments
}

func segmentsBy(feature string, rows []map[string]any) []segment {
	var segments []segment
	index := map[string]int{}
	for i, row := range rows {
		value := "null"
		if row[feature] != nil {
			value = classText(row[feature])
		}
		at, found := index[value]
		if !found {
			if at = len(segments); at == mostLevels {
				return nil
			}
			index[value] = at
			segments = append(segments, segment{feature: feature, value: value})
		}
		segments[at].rows = append(segments[at].rows, i)
	}
	if len(segments) < 2 {
		return nil
	}
	return segments
}

// biggestSegments returns the segments whose predictions moved most, unless
// nothing moved there.
func biggestSegments(segments []segment, changed []bool, distance []float64) []Segment {
	var list []Segment
	for _, s := range segments {
		if len(s.rows) < leastSegment {
			continue
		}
		part := Segment{Feature: s.feature, Value: s.value, Rows: len(s.rows)}
		for _, i := range s.rows {
			if changed[i] {
				part.Changed++
			}
			part.Mean += distance[i] / float64(len(s.rows))
		}
		if part.Changed > 0 {
			list = append(list, part)
		}
	}
	slices.SortStableFunc(list, func(a, b Segment) int {
		return cmp.Or(
			cmp.Compare(math.Abs(b.Mean), math.Abs(a.Mean)),
			cmp.Compare(float64(b.Changed)/float64(b.Rows), float64(a.Changed)/float64(a.Rows)),
		)
	})
	return list[:min(len(list), mostSegments)]
}
