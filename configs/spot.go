package configs

import (
	"fmt"
	"iter"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// spot is a place in the file: an option's path, where it stands, and what stands
// there. An option that the file leaves out has the spot of what it is left out of.
type spot struct {
	path string
	node *yaml.Node // the value, aliases followed; nil when the file has none
	mark            // of the value when it is a scalar, else of the key or list item
	key  mark       // of the key that names it, or like mark
}

type mark struct{ line, column int }

// secrets is the option below which nobody is shown what the file says: API keys,
// also those that stand where they do not belong.
const secrets = "admission.keys"

// secret reports whether what stands here may be a secret.
func (s spot) secret() bool {
	rest, within := strings.CutPrefix(s.path, secrets)
	return within && (rest == "" || rest[0] == '[' || rest[0] == '.')
}

// reference is a text that is made of one ${NAME} or ${file:path} and so tells
// nothing.
var reference = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*|file:[^}]*)\}$`)

// in returns the spot of an option in a mapping: the first, when it stands twice.
func (s spot) in(option string) spot {
	for i := range s.pairs() {
		if name(s.node.Content[2*i]) == option {
			return s.pair(i)
		}
	}
	return spot{path: join(s.path, option), mark: s.mark, key: s.key}
}

// entries lists a mapping's keys with the spots of their values, in file order.
func (s spot) entries() iter.Seq2[string, spot] {
	return func(yield func(string, spot) bool) {
		for i := range s.pairs() {
			if !yield(name(s.node.Content[2*i]), s.pair(i)) {
				return
			}
		}
	}
}

// pairs counts the keys of a mapping; what is no mapping has none.
func (s spot) pairs() int {
	if s.node == nil || s.node.Kind != yaml.MappingNode {
		return 0
	}
	return len(s.node.Content) / 2
}

func (s spot) pair(i int) spot {
	key, value := s.node.Content[2*i], s.node.Content[2*i+1]
	child := spot{join(s.path, s.told(name(key))), follow(value), markOf(key), markOf(key)}
	if value.Kind == yaml.AliasNode || value.Kind == yaml.ScalarNode && value.Value != "" {
		child.mark = markOf(value)
	}
	return child
}

// told is the name of an entry as it may be shown: one that is no option may be a
// secret in the wrong place.
func (s spot) told(name string) string {
	if s.secret() && indexOf(options(reflect.TypeFor[AdmissionKey]()), name) < 0 {
		return hidden
	}
	return name
}

// at returns the spot of an entry in a list.
func (s spot) at(i int) spot {
	path := fmt.Sprintf("%s[%d]", s.path, i)
	if s.node == nil || s.node.Kind != yaml.SequenceNode || i >= len(s.node.Content) {
		return spot{path: path, mark: s.mark, key: s.key}
	}
	item := s.node.Content[i]
	return spot{path, follow(item), markOf(item), markOf(item)}
}

// named is the spot of the key itself.
func (s spot) named() spot { return spot{path: s.path, mark: s.key, key: s.key} }

// text is what the file says here, fit to be printed; "" when that is nothing.
func (s spot) text() string {
	if s.node == nil || s.node.Kind != yaml.ScalarNode || s.isNull() {
		return ""
	}
	if s.secret() && !reference.MatchString(s.node.Value) {
		return ""
	}
	return shown(s.node.Value)
}

// substituted reports whether the value here is made with a ${…}.
func (s spot) substituted() bool {
	return s.node != nil && s.node.Kind == yaml.ScalarNode && strings.Contains(s.node.Value, "${")
}

// isNull reports whether nothing stands here, though its key does.
func (s spot) isNull() bool {
	return s.node != nil && s.node.Kind == yaml.ScalarNode && s.node.Tag == "!!null"
}

func markOf(n *yaml.Node) mark { return mark{max(1, n.Line), max(1, n.Column)} }

// follow returns what an alias stands for; YAML has no alias of an alias.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// name is a key as text; a key that is a list or a mapping is not the name of anything.
func name(key *yaml.Node) string {
	if key = follow(key); key.Kind == yaml.ScalarNode {
		return key.Value
	}
	return noName
}

const noName = "?"

// join writes paths as people do: health.interval, but regions["a b"].
func join(path, key string) string {
	switch {
	case key == "" || strings.ContainsFunc(key, notPlain):
		return fmt.Sprintf("%s[%q]", path, clip(key, 64))
	case path == "":
		return clip(key, 64)
	}
	return path + "." + clip(key, 64)
}

func notPlain(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}
