package configs

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// decoder fills a Config from the file's tree by what the fields' tags say. It
// recurses along the structs, not along the file, so that a deep or cyclic file
// cannot lead it anywhere.
type decoder struct {
	*report
	resolver
	cut    bool // a list was over its limit, so that the rest is not all there
	groups map[reflect.Type][]option
}

// known lists the options of a struct, which takes long to find out.
func (d *decoder) known(t reflect.Type) []option {
	list, found := d.groups[t]
	if !found {
		list = options(t)
		d.groups[t] = list
	}
	return list
}

// option is a field that the file may set.
type option struct {
	name  string
	index []int
	tag   reflect.StructTag
}

// options lists the options of a struct in order, those of embedded structs too.
func options(t reflect.Type) []option {
	var list []option
	for _, field := range reflect.VisibleFields(t) {
		if name := field.Tag.Get("yaml"); name != "" && name != "-" {
			list = append(list, option{name, field.Index, field.Tag})
		}
	}
	return list
}

func names(list []option) []string {
	all := make([]string, len(list))
	for i, o := range list {
		all[i] = o.name
	}
	return all
}

// fill sets the defaults of a struct.
func fill(v reflect.Value) {
	for _, o := range options(v.Type()) {
		field := v.FieldByIndex(o.index)
		if text, has := o.tag.Lookup("default"); has {
			set(field, text)
		} else if field.Kind() == reflect.Struct && !isScalar(field) {
			fill(field)
		}
	}
}

// value reads what stands at a spot into v.
func (d *decoder) value(s spot, v reflect.Value, tag reflect.StructTag) {
	switch {
	case tagged(s.node):
		d.add(s, "must not have a YAML tag", "remove "+inline(s.node.Tag, 40))
	case isScalar(v):
		d.scalar(s, v, tag)
	case v.Kind() == reflect.Struct:
		d.group(s, v)
	case tag.Get("keyed") != "":
		d.keyed(s, v, tag)
	default:
		d.list(s, v, tag)
	}
}

// tagged reports an explicit tag such as !!binary, which would change what a
// value means behind the reader's back.
func tagged(n *yaml.Node) bool { return n.Style&yaml.TaggedStyle != 0 }

// group reads a mapping of options. An empty one is all defaults.
func (d *decoder) group(s spot, v reflect.Value) {
	known := d.known(v.Type())
	if !d.isMapping(s, "must be a mapping of options: "+strings.Join(names(known), ", ")) {
		return
	}
	given := map[string]bool{}
	for name, child := range d.once(s) {
		given[name] = true
		at := indexOf(known, name)
		if at < 0 {
			d.unknown(child, name, known)
			continue
		}
		d.value(child, v.FieldByIndex(known[at].index), known[at].tag)
	}
	for _, o := range known {
		if o.tag.Get("required") != "" && !given[o.name] {
			missing := spot{path: join(s.path, o.name), mark: s.mark, key: s.key}
			d.add(missing, "is missing", addIt(o))
		}
	}
}

func addIt(o option) string {
	least, most, _ := strings.Cut(o.tag.Get("range"), "..")
	if least != "" && least == most {
		return fmt.Sprintf("add %s: %s", o.name, least)
	}
	return fmt.Sprintf("add %s, %s", o.name, o.tag.Get("doc"))
}

func indexOf(known []option, name string) int {
	for at, o := range known {
		if o.name == name {
			return at
		}
	}
	return -1
}

func (d *decoder) unknown(s spot, name string, known []option) {
	if name == "<<" {
		d.add(s.named(), "merge keys are not read", "write the options out")
		return
	}
	hint := d.didYouMean(name, names(known))
	if !d.full() && !s.secret() && !strings.HasPrefix(hint, "did you") {
		hint = cmp.Or(homeOf(name), hint)
	}
	d.add(s.named(), "is not an option", hint)
}

// homeOf is the hint for the name of an option that stands elsewhere; "" when none
// or several have it, or the entries of a list.
func homeOf(name string) string {
	home := ""
	for _, path := range paths(reflect.TypeFor[Config](), "") {
		if strings.HasSuffix(path, "."+name) {
			if home != "" {
				return ""
			}
			home = path
		}
	}
	if home == "" || strings.Contains(home, "[]") {
		return ""
	}
	return "did you mean " + home + "?"
}

// paths lists every option below a struct; those of a list's entries are below its
// path and [].
func paths(t reflect.Type, under string) []string {
	var all []string
	for _, o := range options(t) {
		path := join(under, o.name)
		all = append(all, path)
		field := t.FieldByIndex(o.index).Type
		if field.Kind() == reflect.Slice {
			field, path = field.Elem(), path+"[]"
		}
		if field.Kind() == reflect.Struct {
			all = append(all, paths(field, path)...)
		}
	}
	return all
}

// keyed reads a mapping whose keys are names into a list, in file order.
func (d *decoder) keyed(s spot, v reflect.Value, tag reflect.StructTag) {
	if !d.isMapping(s, "must be a mapping of names") {
		return
	}
	most := d.bounded(s, s.pairs(), tag)
	for name, child := range d.once(s) {
		if v.Len() == most {
			return
		}
		item := reflect.New(v.Type().Elem()).Elem()
		fill(item)
		item.FieldByName(tag.Get("keyed")).SetString(name)
		d.value(child, item, "")
		v.Set(reflect.Append(v, item))
	}
}

func (d *decoder) list(s spot, v reflect.Value, tag reflect.StructTag) {
	if s.node.Kind != yaml.SequenceNode {
		hint := "write [] for none"
		if tag.Get("atleast") != "" {
			hint = "write each entry on a line of its own, after a -"
		}
		if s.node.Kind == yaml.ScalarNode && !s.isNull() {
			hint = "write [" + inline(s.text(), 80) + "]"
		}
		d.add(s, "must be a list, not "+kind(s), hint)
		return
	}
	length := d.bounded(s, len(s.node.Content), tag)
	if length == 0 {
		return // nil, as when the file leaves it out
	}
	v.Set(reflect.MakeSlice(v.Type(), length, length))
	blank := reflect.New(v.Type().Elem()).Elem()
	if blank.Kind() == reflect.Struct && !isScalar(blank) {
		fill(blank)
	}
	for i := range length {
		v.Index(i).Set(blank)
		d.value(s.at(i), v.Index(i), "")
	}
}

// bounded notes a list that is too long or too short, and returns how much of it is
// read.
func (d *decoder) bounded(s spot, length int, tag reflect.StructTag) int {
	fewest, most := bound(tag, "atleast", 0), bound(tag, "limit", math.MaxInt)
	if length < fewest {
		d.add(s, "needs at least one entry", "")
	}
	if length <= most {
		return length
	}
	d.cut = true
	d.add(s.named(), fmt.Sprintf("has %s entries, the limit is %s", count(length), count(most)), "")
	return most
}

func bound(tag reflect.StructTag, name string, otherwise int) int {
	if n, err := strconv.Atoi(tag.Get(name)); err == nil {
		return n
	}
	return otherwise
}

// isMapping reports, and notes otherwise, that a mapping or nothing stands there.
func (d *decoder) isMapping(s spot, what string) bool {
	if s.node.Kind == yaml.MappingNode || s.isNull() {
		return true
	}
	d.add(s, what+"; this is "+kind(s), "")
	return false
}

// once lists the entries of a mapping and notes keys that stand twice, or are
// nothing that can be a name.
func (d *decoder) once(s spot) func(func(string, spot) bool) {
	return func(yield func(string, spot) bool) {
		first := map[string]int{}
		for name, child := range s.entries() {
			line, twice := first[name]
			switch {
			case name == noName:
				d.add(child.named(), "a key must be text, not a list or a mapping", "")
				continue
			case twice:
				d.add(child.named(), fmt.Sprintf("stands twice, first in line %d", line), "keep one of them")
				continue
			}
			first[name] = child.key.line
			if !yield(name, child) {
				return
			}
		}
	}
}
