package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Change is what is different between two configurations.
type Change struct {
	Regions   Names
	Endpoints Names
	Settings  []string // paths of other options with another value
	Restart   []string // those of them that take effect when the router is started again

	regions, endpoints int // how many there were before
}

// Names are the things that one configuration has and another has not, or has
// differently.
type Names struct {
	Added, Removed, Changed []string
}

// Difference compares what two valid configurations mean, not how they are written.
func Difference(old, next *Config) Change {
	change := Change{regions: len(old.Regions), endpoints: len(old.Endpoints)}
	change.Regions = namesBetween(old.Regions, next.Regions, func(r *Region) string { return r.Name })
	change.Endpoints = namesBetween(old.Endpoints, next.Endpoints, func(e *Endpoint) string { return string(e.Identity()) })
	change.settings(reflect.ValueOf(old).Elem(), reflect.ValueOf(next).Elem(), "")
	return change
}

func namesBetween[T any](old, next []T, name func(*T) string) Names {
	before := make(map[string]*T, len(old))
	for i := range old {
		before[name(&old[i])] = &old[i]
	}
	var n Names
	for i := range next {
		id := name(&next[i])
		was, there := before[id]
		delete(before, id)
		switch {
		case !there:
			n.Added = append(n.Added, id)
		case !reflect.DeepEqual(*was, next[i]):
			n.Changed = append(n.Changed, id)
		}
	}
	for i := range old {
		if id := name(&old[i]); before[id] != nil {
			n.Removed = append(n.Removed, id)
		}
	}
	return n
}

// settings compares every option but regions and endpoints. A list counts as one.
func (c *Change) settings(old, next reflect.Value, under string) {
	for _, o := range options(old.Type()) {
		path := join(under, o.name)
		if path == "regions" || path == "endpoints" {
			continue
		}
		was, is := old.FieldByIndex(o.index), next.FieldByIndex(o.index)
		if was.Kind() == reflect.Struct && !isScalar(was) {
			c.settings(was, is, path)
			continue
		}
		if same(was, is, o.tag.Get("keyed")) {
			continue
		}
		c.Settings = append(c.Settings, path)
		if o.tag.Get("restart") != "" {
			c.Restart = append(c.Restart, path)
		}
	}
}

// same compares two values of an option. The entries of a mapping have no order.
func same(was, is reflect.Value, keyed string) bool {
	if keyed == "" {
		return reflect.DeepEqual(was.Interface(), is.Interface())
	}
	return reflect.DeepEqual(byName(was, keyed), byName(is, keyed))
}

func byName(list reflect.Value, keyed string) map[string]any {
	entries := make(map[string]any, list.Len())
	for i := range list.Len() {
		entries[list.Index(i).FieldByName(keyed).String()] = list.Index(i).Interface()
	}
	return entries
}

// None reports whether nothing is different.
func (c Change) None() bool {
	return c.Regions.none() && c.Endpoints.none() && len(c.Settings) == 0
}

// Drastic reports a change that is more likely a mistake than a wish, and why: it
// removes more than half of the regions, or every endpoint.
func (c Change) Drastic() (why string, drastic bool) {
	if gone := len(c.Regions.Removed); 2*gone > c.regions {
		return fmt.Sprintf("it removes %d of %d regions: %s", gone, c.regions, some(c.Regions.Removed)), true
	}
	if gone := len(c.Endpoints.Removed); gone == c.endpoints && gone > 0 {
		return fmt.Sprintf("it removes every endpoint that there was: %s", some(c.Endpoints.Removed)), true
	}
	return "", false
}

// String says what is different, in one line.
func (c Change) String() string {
	if c.None() {
		return "nothing changed"
	}
	var parts []string
	parts = c.Regions.in(parts, "regions")
	parts = c.Endpoints.in(parts, "endpoints")
	if len(c.Settings) > 0 {
		parts = append(parts, "settings changed: "+some(c.Settings))
	}
	if len(c.Restart) > 0 {
		parts = append(parts, "only a restart applies: "+some(c.Restart))
	}
	return strings.Join(parts, "; ")
}

func (n Names) none() bool { return len(n.Added)+len(n.Removed)+len(n.Changed) == 0 }

func (n Names) in(parts []string, what string) []string {
	for _, list := range []struct {
		verb  string
		names []string
	}{{"added", n.Added}, {"removed", n.Removed}, {"changed", n.Changed}} {
		if len(list.names) > 0 {
			parts = append(parts, fmt.Sprintf("%s %s: %s", what, list.verb, some(list.names)))
		}
	}
	return parts
}

// some lists the first names and counts the others.
func some(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %s more", strings.Join(slices.Clone(names[:most]), ", "), count(len(names)-most))
}
