package configs

import (
	"fmt"
	"reflect"

	"go.yaml.in/yaml/v4"
)

// Redacted writes the configuration with every default filled in, as YAML that
// Parse reads again. A value that the file has stands as the file has it, so that
// a ${…} stays one and what it stands for is not shown. A secret that is not just
// one ${NAME} or ${file:path} stands as ***, which Parse refuses: a configuration
// that was shown does not work with made-up keys.
func (c *Config) Redacted() ([]byte, error) {
	return yaml.Dump(written(reflect.ValueOf(c).Elem(), c.root, ""), yaml.WithLineWidth(-1))
}

// written is the YAML of a value that was read at a spot; nil when it is empty and
// the file does not have it.
func written(v reflect.Value, s spot, tag reflect.StructTag) *yaml.Node {
	switch {
	case isScalar(v):
		return writtenScalar(v, s)
	case v.Kind() == reflect.Struct:
		return writtenGroup(v, s)
	}
	if by := tag.Get("keyed"); by != "" {
		return writtenKeyed(v, s, by)
	}
	if v.Len() == 0 {
		return &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range v.Len() {
		list.Content = append(list.Content, written(v.Index(i), s.at(i), ""))
	}
	if isScalar(v.Index(0)) {
		list.Style = yaml.FlowStyle
	}
	return list
}

func writtenScalar(v reflect.Value, s spot) *yaml.Node {
	if v.Type() == reflect.TypeFor[Secret]() && s.text() == "" {
		return text(hidden)
	}
	if s.node != nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: s.node.Tag, Value: s.node.Value, Style: s.node.Style}
	}
	value := plain(v)
	if value == "" {
		return nil
	}
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: value}
	if v.Kind() == reflect.String || v.Kind() == reflect.Struct {
		node.Tag = "!!str"
	}
	return node
}

// plain is a single value as text.
func plain(v reflect.Value) string {
	if own, ok := v.Addr().Interface().(scalar); ok {
		return own.String()
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	return fmt.Sprint(v.Interface())
}

func text(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

func writtenGroup(v reflect.Value, s spot) *yaml.Node {
	group := &yaml.Node{Kind: yaml.MappingNode}
	for _, o := range options(v.Type()) {
		if value := written(v.FieldByIndex(o.index), s.in(o.name), o.tag); value != nil {
			group.Content = append(group.Content, text(o.name), value)
		}
	}
	return group
}

// writtenKeyed writes a list as the mapping that it was read from.
func writtenKeyed(v reflect.Value, s spot, by string) *yaml.Node {
	group := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.Len() {
		name := v.Index(i).FieldByName(by).String()
		group.Content = append(group.Content, text(name), written(v.Index(i), s.in(name), ""))
	}
	return group
}
