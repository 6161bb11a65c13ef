// Command iris names the species of an iris: it compares the flower with the
// flowers of flowers.csv, and lets the nearest nine vote.
package main

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"sort"
	"strconv"
	"strings"
)

const neighbours = 9 // as in train.py

//go:embed flowers.csv
var flowers string

var (
	features = []string{"sepal_length", "sepal_width", "petal_length", "petal_width"}
	species  = []string{"setosa", "versicolor", "virginica"}
)

// model is the known flowers, standardised, and how they were.
type model struct {
	points  [][4]float64
	species []int // indexes, by point
	mean    [4]float64
	scale   [4]float64
}

func load() (*model, error) {
	records, err := csv.NewReader(strings.NewReader(flowers)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("reading flowers.csv: %w", err)
	}
	m := new(model)
	for _, record := range records[1:] {
		var point [4]float64
		for i := range point {
			if point[i], err = strconv.ParseFloat(record[i], 64); err != nil {
				return nil, fmt.Errorf("reading flowers.csv: %w", err)
			}
		}
		m.points = append(m.points, point)
		m.species = append(m.species, sort.SearchStrings(species, record[4]))
	}
	m.standardise()
	return m, nil
}

func (m *model) standardise() {
	n := float64(len(m.points))
	for i := range m.mean {
		for _, point := range m.points {
			m.mean[i] += point[i] / n
		}
		for _, point := range m.points {
			m.scale[i] += (point[i] - m.mean[i]) * (point[i] - m.mean[i]) / n
		}
		m.scale[i] = math.Sqrt(m.scale[i])
	}
	for p := range m.points {
		for i := range m.mean {
			m.points[p][i] = (m.points[p][i] - m.mean[i]) / m.scale[i]
		}
	}
}

// predict answers a row: the species with most votes, and each one's share.
func (m *model) predict(row map[string]any) map[string]any {
	var flower [4]float64
	for i, name := range features {
		flower[i] = (row[name].(float64) - m.mean[i]) / m.scale[i]
	}
	nearest := make([]int, len(m.points))
	distance := make([]float64, len(m.points))
	for p, point := range m.points {
		nearest[p] = p
		for i := range point {
			distance[p] += (point[i] - flower[i]) * (point[i] - flower[i])
		}
	}
	sort.SliceStable(nearest, func(a, b int) bool { return distance[nearest[a]] < distance[nearest[b]] })
	shares := make([]float64, len(species))
	for _, p := range nearest[:neighbours] {
		shares[m.species[p]] += 1.0 / neighbours
	}
	best := 0
	for i, share := range shares {
		if share > shares[best] {
			best = i
		}
		shares[i] = math.Min(share, 1) // nine ninths add up to a little more
	}
	return map[string]any{"species": species[best], "probability": shares}
}

func main() {
	m, err := load()
	if err != nil {
		fmt.Fprintln(os.Stderr, "iris:", err)
		os.Exit(1)
	}
	Serve(func(rows []map[string]any, _ map[string]any) ([]map[string]any, error) {
		answers := make([]map[string]any, len(rows))
		for i, row := range rows {
			answers[i] = m.predict(row)
		}
		return answers, nil
	})
}
