package configs

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// scalar reads a single value and holds it against its bounds.
func (d *decoder) scalar(s spot, v reflect.Value, tag reflect.StructTag) {
	if s.node.Kind != yaml.ScalarNode {
		d.add(s, "must be a single value, not "+kind(s), like(tag))
		return
	}
	if s.isNull() {
		d.add(s, "has no value", leaveOut(tag))
		return
	}
	text, err := d.resolve(s.node.Value)
	if bad := new(wrong); errors.As(err, &bad) {
		d.note(s, bad.what, bad.hint)
		return
	}
	d.set(s, v, text, tag)
}

// set parses a resolved value. One that is refused leaves the default, so that it
// does not bring further problems about.
func (d *decoder) set(s spot, v reflect.Value, text string, tag reflect.StructTag) {
	parsed := reflect.New(v.Type()).Elem()
	if bad := set(parsed, text); bad != nil {
		d.add(s, bad.what, bad.hint)
		return
	}
	if what, hint := misquoted(s, v.Type()); what != "" {
		d.add(s, what, hint)
		return
	}
	if what, hint := outside(parsed, text, tag); what != "" {
		d.add(s, what, hint)
		return
	}
	if file, ok := parsed.Interface().(File); ok && file != "" && text != tag.Get("default") {
		parsed.SetString(within(d.folder, text))
	}
	v.Set(parsed)
}

// like shows how a value is written, by its default.
func like(tag reflect.StructTag) string {
	if text := tag.Get("default"); text != "" {
		return "write it like " + text
	}
	return ""
}

// leaveOut is the hint for an option without a value.
func leaveOut(tag reflect.StructTag) string {
	if text := tag.Get("default"); text != "" {
		return "write one, or remove the line for the default " + text
	}
	return "write one, or remove the line"
}

// outside says how a value is not within the bounds that its tag gives.
func outside(v reflect.Value, text string, tag reflect.StructTag) (what, hint string) {
	if words := tag.Get("enum"); words != "" {
		known := strings.Split(words, ",")
		if !slices.Contains(known, text) {
			near, found := nearest(text, known)
			if found {
				near = "did you mean " + near + "?"
			}
			return "must be " + either(known), near
		}
	}
	least, most, has := strings.Cut(tag.Get("range"), "..")
	also, other := tag.Lookup("also")
	switch {
	case !has, compare(v, least) >= 0 && compare(v, most) <= 0, other && compare(v, also) == 0:
		return "", ""
	case least == most:
		return "must be " + least, ""
	case other:
		return fmt.Sprintf("must be %s, or from %s to %s", also, least, most), ""
	}
	return fmt.Sprintf("must be from %s to %s", least, most), ""
}

// either writes a, b or c.
func either(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// compare holds a number of any kind against a bound in text.
func compare(v reflect.Value, bound string) int {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	limit := reflect.New(v.Type()).Elem()
	set(limit, bound)
	if v.CanFloat() {
		return cmp.Compare(v.Float(), limit.Float())
	}
	return cmp.Compare(v.Int(), limit.Int())
}

// isScalar reports whether a field is written as a single value.
func isScalar(v reflect.Value) bool {
	if _, own := v.Addr().Interface().(scalar); own {
		return true
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Slice:
		return false
	}
	return true
}

// set parses text into a field that is written as a single value.
func set(v reflect.Value, text string) *wrong {
	if own, ok := v.Addr().Interface().(scalar); ok {
		var bad *wrong
		if errors.As(own.parse(text), &bad) {
			return bad
		}
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		inner := reflect.New(v.Type().Elem())
		v.Set(inner)
		return set(inner.Elem(), text)
	case reflect.Bool:
		return setBool(v, text)
	case reflect.Int:
		return setInt(v, text)
	case reflect.Float64:
		return setFloat(v, text)
	}
	v.SetString(text)
	return nil
}

func setBool(v reflect.Value, text string) *wrong {
	if text != "true" && text != "false" {
		hint := ""
		switch strings.ToLower(text) {
		case "yes", "on", "y", "1", "true":
			hint = "write true"
		case "no", "off", "n", "0", "false":
			hint = "write false"
		}
		return &wrong{"must be true or false", hint}
	}
	v.SetBool(text == "true")
	return nil
}

// setInt takes a number too large for an int64 for the largest one there is: no
// option's range goes that far.
func setInt(v reflect.Value, text string) *wrong {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || v.OverflowInt(n) {
		return &wrong{"must be a whole number", "write it like 3"}
	}
	v.SetInt(n)
	return nil
}

func setFloat(v reflect.Value, text string) *wrong {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) || strings.ContainsAny(text, "xX_") {
		return &wrong{"must be a number", "write it like 52.52"}
	}
	v.SetFloat(x)
	return nil
}

// misquoted refuses a quoted number where a number is wanted, and a number or the
// like where text is wanted: 7 is a number, "7" a name. What a ${…} stands for is
// always text.
func misquoted(s spot, want reflect.Type) (what, hint string) {
	if s.substituted() {
		return "", ""
	}
	if want.Kind() == reflect.Pointer {
		want = want.Elem()
	}
	quoted := s.node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
	switch want.Kind() {
	case reflect.String:
		if s.node.Tag != "!!str" {
			return "must be text, not " + kind(s), fmt.Sprintf("write %q", s.node.Value)
		}
	case reflect.Bool, reflect.Int, reflect.Float64:
		if quoted {
			return "must not be in quotes", "write " + inline(s.text(), 80)
		}
	}
	return "", ""
}

// kind is what stands at a spot, in words.
func kind(s spot) string {
	switch s.node.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	}
	switch s.node.Tag {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	}
	return "text"
}
