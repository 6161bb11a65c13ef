package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// lines is a slog.Handler for people: the time of day, the message, then what
// it is about. Levels above information are named.
//
//	15:04:05 published model=iris version=2
//	15:04:06 WARN following the registry's store failed err="…"
type lines struct {
	out    io.Writer
	mu     *sync.Mutex // held while a line is written
	level  slog.Level
	prefix string // of groups
	attrs  []slog.Attr
}

func newLines(out io.Writer, level slog.Level) *lines {
	return &lines{out: out, mu: new(sync.Mutex), level: level}
}

// Enabled implements slog.Handler.
func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

// Handle implements slog.Handler.
func (l *lines) Handle(_ context.Context, record slog.Record) error {
	var b bytes.Buffer
	b.WriteString(record.Time.Format(time.TimeOnly))
	if record.Level != slog.LevelInfo {
		fmt.Fprintf(&b, " %s", record.Level)
	}
	b.WriteByte(' ')
	message, more, _ := strings.Cut(record.Message, "\n")
	b.WriteString(message)
	for _, attr := range l.attrs {
		write(&b, "", attr)
	}
	record.Attrs(func(attr slog.Attr) bool {
		write(&b, l.prefix, attr)
		return true
	})
	b.WriteByte('\n')
	if more != "" {
		b.WriteString(more + "\n")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.out.Write(b.Bytes())
	return err
}

// write adds " name=value"; a value with blanks or line breaks is quoted.
func write(b *bytes.Buffer, prefix string, attr slog.Attr) {
	value := attr.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		for _, inner := range value.Group() {
			write(b, prefix+attr.Key+".", inner)
		}
		return
	}
	text := value.String()
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f }) {
		text = strconv.Quote(text)
	}
	fmt.Fprintf(b, " %s%s=%s", prefix, attr.Key, text)
}

// WithAttrs implements slog.Handler.
func (l *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *l
	next.attrs = slices.Clone(l.attrs)
	for _, attr := range attrs {
		attr.Key = l.prefix + attr.Key
		next.attrs = append(next.attrs, attr)
	}
	return &next
}

// WithGroup implements slog.Handler.
func (l *lines) WithGroup(name string) slog.Handler {
	next := *l
	next.prefix += name + "."
	return &next
}
