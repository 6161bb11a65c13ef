package web

import (
	"strings"

	"modelmanager.dev"
)

// kindOf says in words what a column's values must be: "whole number, 0 to 120, years".
func kindOf(field modelmanager.Field) string {
	kind, allowed := kindWords(field), allowedWords(field)
	parts := []string{kind}
	switch {
	case allowed != "" && len(field.Enum) > 0:
		parts[0] = kind + ": " + allowed
	case allowed != "":
		parts = append(parts, allowed)
	}
	if field.Unit != "" {
		parts = append(parts, field.Unit)
	}
	return strings.Join(parts, ", ")
}
