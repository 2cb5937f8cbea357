package configs

import (
	"time"

	"proxima/router"
)

// Rules is what holds for the requests of one model when an attempt fails, or is
// slow to succeed.
type Rules struct {
	FirstByteTimeout time.Duration // 0: the first byte may take as long as it wants
	StallTimeout     time.Duration // 0: an answer may fall silent for as long as it wants
	Resume           bool          // another endpoint goes on with a stream that breaks
	Hedge            bool          // a second endpoint is asked when the first byte is late
}

// Rules returns what holds for a model: its own rules, and for what they leave out
// those of every model. A model without rules of its own has those of every model;
// so has "", a request that names none.
func (f *Failover) Rules(model router.Model) Rules {
	rules := Rules{time.Duration(f.FirstByteTimeout), time.Duration(f.StallTimeout), f.Resume, f.Hedge}
	for _, own := range f.Models {
		if own.Name == Model(model) {
			return own.over(rules)
		}
	}
	return rules
}

// over puts what a model has of its own over the rules of every model.
func (m *ModelRules) over(rules Rules) Rules {
	if m.FirstByteTimeout != nil {
		rules.FirstByteTimeout = time.Duration(*m.FirstByteTimeout)
	}
	if m.StallTimeout != nil {
		rules.StallTimeout = time.Duration(*m.StallTimeout)
	}
	if m.Resume != nil {
		rules.Resume = *m.Resume
	}
	if m.Hedge != nil {
		rules.Hedge = *m.Hedge
	}
	return rules
}

// OwnRules lists the models that have rules of their own, in the order of the file.
// Build a map of their Rules when the file is loaded: Rules looks through the list.
func (f *Failover) OwnRules() []router.Model {
	var models []router.Model
	for _, own := range f.Models {
		models = append(models, router.Model(own.Name))
	}
	return models
}
