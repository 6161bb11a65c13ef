package main

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	_ "modernc.org/sqlite" // registers the driver

	"modelmanager.dev/internal/registry"
)

// peer is SQLite in memory, with the same models in one table. What a search
// looks through is one column, in lower case: the fastest it can do with LIKE.
type peer struct {
	name string
	db   *sql.DB
}

const schema = `
CREATE TABLE models (
	name TEXT PRIMARY KEY, summary TEXT, owner TEXT, labels TEXT, serve TEXT, repository TEXT,
	latest INTEGER, created INTEGER, traffic TEXT, search TEXT
) WITHOUT ROWID;
CREATE INDEX models_by_owner ON models (owner, name);
PRAGMA case_sensitive_like = ON;`

func openPeer(ctx context.Context, models int) (*peer, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // each connection would have a database of its own
	p := &peer{db: db}
	if err := p.fill(ctx, models); err != nil {
		return nil, fmt.Errorf("filling SQLite: %w", err)
	}
	var version string
	err = db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version)
	p.name = "SQLite " + version
	return p, err
}

func (p *peer) close() { p.db.Close() }

func (p *peer) fill(ctx context.Context, models int) error {
	if _, err := p.db.ExecContext(ctx, schema); err != nil {
		return err
	}
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit this does nothing
	insert, err := tx.PrepareContext(ctx, "INSERT INTO models VALUES (?,?,?,?,?,?,?,?,?,?)")
	if err != nil {
		return err
	}
	for i := range models {
		m := model(i)
		labels := ","
		search := []string{m.Name, m.Summary, m.Owner}
		for _, key := range slices.Sorted(maps.Keys(m.Labels)) {
			labels += key + "=" + m.Labels[key] + ","
			search = append(search, m.Labels[key])
		}
		_, err := insert.ExecContext(ctx, m.Name, m.Summary, m.Owner, labels, "realtime,batch", m.Repository, m.Latest,
			m.Created.Unix(), fmt.Sprint(m.Traffic().Versions), strings.ToLower(strings.Join(search, " ")))
		if err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_, err = p.db.ExecContext(ctx, "ANALYZE")
	return err
}

// list answers a query's first page.
func (p *peer) list(ctx context.Context, query registry.Query) ([]string, error) {
	where, args := []string{"true"}, []any{}
	for _, word := range strings.Fields(strings.ToLower(query.Text)) {
		where, args = append(where, "search LIKE ?"), append(args, "%"+word+"%")
	}
	if query.Owner != "" {
		where, args = append(where, "owner = ?"), append(args, query.Owner)
	}
	for key, value := range query.Labels {
		where, args = append(where, "labels LIKE ?"), append(args, "%,"+key+"="+value+",%")
	}
	rows, err := p.db.QueryContext(ctx, "SELECT name, summary, owner, labels, serve, repository, latest, created, traffic FROM models WHERE "+
		strings.Join(where, " AND ")+" ORDER BY name LIMIT 50", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name, summary, owner, labels, serve, repository, traffic string
		var latest, created int64
		if err := rows.Scan(&name, &summary, &owner, &labels, &serve, &repository, &latest, &created, &traffic); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}
