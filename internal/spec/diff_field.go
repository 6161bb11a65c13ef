package spec

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"

	"modelmanager.dev"
)

// fields compares features or predictions by name. What narrows a feature can
// refuse a row that was right; what widens a prediction can surprise a reader.
func (d *differ) fields(role string, from, to []modelmanager.Field) {
	names := func(fields []modelmanager.Field) (list []string, byName map[string]*modelmanager.Field) {
		byName = map[string]*modelmanager.Field{}
		for i := range fields {
			list = append(list, fields[i].Name)
			byName[fields[i].Name] = &fields[i]
		}
		return list, byName
	}
	before, was := names(from)
	after, is := names(to)
	for _, name := range before {
		path := role + "s." + name
		if is[name] == nil {
			d.add(Removed, true, path, "the %s %s was removed", role, name)
			continue
		}
		f := fieldDiffer{differ: d, feature: role == "feature", path: path, name: fmt.Sprintf("the %s %s", role, name)}
		f.field(was[name], is[name])
	}
	for _, name := range after {
		if was[name] == nil {
			d.added(role, is[name])
		}
	}
	gone := func(name string) bool { return was[name] == nil || is[name] == nil }
	before, after = slices.DeleteFunc(before, gone), slices.DeleteFunc(after, gone)
	if !slices.Equal(before, after) {
		d.add(Reordered, false, role+"s", "the %ss are in another order", role)
	}
}

func (d *differ) added(role string, f *modelmanager.Field) {
	path := role + "s." + f.Name
	switch {
	case role == "prediction":
		d.add(Added, false, path, "the prediction %s is new", f.Name)
	case f.Default == nil:
		d.add(Added, true, path, "the feature %s is new and required", f.Name)
	case d.files && !f.Optional:
		d.add(Added, true, path, "the feature %s is new; calls may leave it out (%s is taken), but files need its column, since it is not optional", f.Name, compact(f.Default))
	default:
		d.add(Added, false, path, "the feature %s is new, with the default %s", f.Name, compact(f.Default))
	}
}

type fieldDiffer struct {
	*differ
	feature    bool
	path, name string
}

// say reports a change of the allowed values: narrowing breaks features,
// widening breaks the readers of predictions.
func (d *fieldDiffer) say(kind ChangeKind, key, format string, args ...any) {
	breaking := kind == Narrowed && d.feature || kind == Widened && !d.feature
	d.add(kind, breaking, d.path+"."+key, "%s %s", d.name, fmt.Sprintf(format, args...))
}

func typeText(f *modelmanager.Field) string {
	if f.Format != "" {
		return fmt.Sprintf("%s (%s)", f.Type, f.Format)
	}
	return string(f.Type)
}

func (d *fieldDiffer) field(from, to *modelmanager.Field) {
	if from.Type != to.Type || from.Format != to.Format {
		if d.feature && from.Type == modelmanager.Integer && from.Format == "" && to.Type == modelmanager.Number {
			d.say(Widened, "type", "takes numbers now, not only integers")
		} else {
			d.add(Retyped, true, d.path+".type", "%s is %s now, not %s", d.name, typeText(to), typeText(from))
			return
		}
	}
	if from.Unit != to.Unit {
		d.add(Changed, true, d.path+".unit", "%s has the unit %q now, not %q", d.name, to.Unit, from.Unit)
	}
	if from.Description != to.Description {
		d.add(Changed, false, d.path+".description", "%s has another description", d.name)
	}
	d.absence(from, to)
	d.bound("minimum", from.Minimum, to.Minimum, true)
	d.bound("exclusiveMinimum", from.ExclusiveMinimum, to.ExclusiveMinimum, true)
	d.bound("maximum", from.Maximum, to.Maximum, false)
	d.bound("exclusiveMaximum", from.ExclusiveMaximum, to.ExclusiveMaximum, false)
	d.multiple(from.MultipleOf, to.MultipleOf)
	d.bound("minLength", whole(from.MinLength), whole(to.MinLength), true)
	d.bound("maxLength", whole(from.MaxLength), whole(to.MaxLength), false)
	d.pattern(from.Pattern, to.Pattern)
	d.enum(from, to)
	d.array(from, to)
}

func whole(n *int) *float64 {
	if n == nil {
		return nil
	}
	v := float64(*n)
	return &v
}

func (d *fieldDiffer) absence(from, to *modelmanager.Field) {
	if from.Nullable && !to.Nullable {
		d.say(Narrowed, "nullable", "no longer allows null")
	}
	if !from.Nullable && to.Nullable {
		d.say(Widened, "nullable", "allows null now")
	}
	switch {
	case from.Default != nil && to.Default == nil:
		d.say(Narrowed, "default", "has no default any more, and so is required")
	case from.Default == nil && to.Default != nil:
		d.say(Widened, "default", "has the default %s now", compact(to.Default))
	case from.Default != nil && compact(from.Default) != compact(to.Default):
		d.add(Changed, false, d.path+".default", "%s has the default %s now, not %s: rows without it are scored differently", d.name, compact(to.Default), compact(from.Default))
	}
	if from.Optional && !to.Optional {
		d.add(Narrowed, d.files, d.path+".optional", "%s is no longer optional: files need its column", d.name)
	}
	if !from.Optional && to.Optional {
		d.say(Widened, "optional", "is optional now: files may lack its column")
	}
}

// bound compares a lower or an upper bound; nil is no bound.
func (d *fieldDiffer) bound(key string, from, to *float64, lower bool) {
	switch {
	case from == nil && to == nil, from != nil && to != nil && *from == *to:
	case from == nil:
		d.say(Narrowed, key, "has %s %v now", key, *to)
	case to == nil:
		d.say(Widened, key, "has no %s any more; it was %v", key, *from)
	case lower == (*to > *from):
		d.say(Narrowed, key, "has %s %v now, not %v", key, *to, *from)
	default:
		d.say(Widened, key, "has %s %v now, not %v", key, *to, *from)
	}
}

func (d *fieldDiffer) multiple(from, to *float64) {
	switch {
	case from == nil && to == nil, from != nil && to != nil && *from == *to:
	case to == nil:
		d.say(Widened, "multipleOf", "need not be a multiple of %v any more", *from)
	case from == nil:
		d.say(Narrowed, "multipleOf", "must be a multiple of %v now", *to)
	case divides(*to, *from):
		d.say(Widened, "multipleOf", "may be any multiple of %v now, not only of %v", *to, *from)
	case divides(*from, *to):
		d.say(Narrowed, "multipleOf", "must be a multiple of %v now, not only of %v", *to, *from)
	default: // some values are allowed no longer, and others are now
		d.add(Changed, true, d.path+".multipleOf", "%s must be a multiple of %v now, not of %v", d.name, *to, *from)
	}
}

// divides tells whether each multiple of a number is one of step, too, as people
// write them: 0.1 divides 0.3.
func divides(step, number float64) bool {
	decimal := func(x float64) (*big.Rat, bool) {
		return new(big.Rat).SetString(strconv.FormatFloat(x, 'g', -1, 64))
	}
	s, ok := decimal(step)
	n, also := decimal(number)
	return ok && also && s.Sign() != 0 && n.Quo(n, s).IsInt()
}

func (d *fieldDiffer) pattern(from, to string) {
	switch {
	case from == to:
	case to == "":
		d.say(Widened, "pattern", "has no pattern any more")
	case from == "":
		d.say(Narrowed, "pattern", "must match the pattern %s now", to)
	default:
		d.add(Changed, true, d.path+".pattern", "%s must match the pattern %s now, not %s", d.name, to, from)
	}
}

func (d *fieldDiffer) enum(from, to *modelmanager.Field) {
	open := func(f *modelmanager.Field) bool { return len(f.Enum) == 0 }
	switch {
	case open(from) && open(to):
		return
	case open(from):
		d.say(Narrowed, "enum", "allows only %s now", clip(compact(to.Enum)))
		return
	case open(to):
		d.say(Widened, "enum", "allows any value now, not only those of an enum")
		return
	}
	before, after := texts(from.Enum), texts(to.Enum)
	for _, value := range before {
		if !slices.Contains(after, value) && d.feature && to.Unknown != "" {
			d.add(Narrowed, false, d.path+".enum", "%s no longer knows %s", d.name, value)
		} else if !slices.Contains(after, value) {
			d.say(Narrowed, "enum", "no longer allows %s", value)
		}
	}
	for _, value := range after {
		if !slices.Contains(before, value) {
			d.say(Widened, "enum", "allows %s now", value)
		}
	}
	left := slices.DeleteFunc(slices.Clone(before), func(v string) bool { return !slices.Contains(after, v) })
	right := slices.DeleteFunc(slices.Clone(after), func(v string) bool { return !slices.Contains(before, v) })
	if !slices.Equal(left, right) {
		d.add(Reordered, false, d.path+".enum", "%s has its enum in another order: the levels in the worker are in another order too", d.name)
	}
	if from.Unknown != to.Unknown {
		words := map[string]string{"": "reject the row", "null": "become null", "accept": "are accepted"}
		d.add(Changed, to.Unknown == "" && d.feature, d.path+".unknown", "%s: values outside its enum %s now", d.name, words[to.Unknown])
	}
}

func texts(values []any) []string {
	list := make([]string, len(values))
	for i, value := range values {
		list[i] = compact(value)
	}
	return list
}

func (d *fieldDiffer) array(from, to *modelmanager.Field) {
	switch {
	case from.Length != nil && to.Length != nil && *from.Length == *to.Length:
	case from.Length != nil && to.Length != nil:
		d.add(Changed, true, d.path+".length", "%s has %s now, not %d", d.name, count(*to.Length, "item"), *from.Length)
	case from.Length != nil && to.MaxItems != nil && *to.MaxItems >= *from.Length:
		d.say(Widened, "length", "has any number of items now, up to %d", *to.MaxItems)
	case from.Length != nil && to.MaxItems != nil:
		d.add(Changed, true, d.path+".length", "%s has at most %s now, not %d", d.name, count(*to.MaxItems, "item"), *from.Length)
	case from.MaxItems != nil && to.Length != nil:
		d.add(Changed, true, d.path+".length", "%s has exactly %s now", d.name, count(*to.Length, "item"))
	default:
		d.bound("max_items", whole(from.MaxItems), whole(to.MaxItems), false)
	}
	if !slices.Equal(from.Labels, to.Labels) {
		d.add(Changed, true, d.path+".labels", "%s has the labels %s now, not %s: its columns in CSV files are named so", d.name, clip(compact(to.Labels)), clip(compact(from.Labels)))
	}
	if from.Items != nil && to.Items != nil {
		inner := fieldDiffer{differ: d.differ, feature: d.feature, path: d.path + ".items", name: "an item of " + d.name}
		inner.field(from.Items, to.Items)
	}
}
