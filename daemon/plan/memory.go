package plan

import "github.com/statesync/statesync/daemon/plan/schema"

// perByte is what a byte of a file takes: the canonical text, the index, the image,
// its saved copy. See package decode for what reading it takes.
const perByte = 6

// Memory is about how much memory Make is going to take, in bytes, for what it has
// yet to decode: what it keeps of each file, and what it needs for one config at a
// time. It is found by counting and not by parsing. That is too much for a text
// that looks like many values and is none, and too little for two things that only
// the bounds of a config hold: what YAML's aliases expand to, and dotted keys that
// are much longer than the file, because long keys or many levels are above their
// values.
func (m *Maker) Memory(layers []Layer) int64 {
	if checkNames(layers) != nil {
		return 0 // the plan is refused
	}
	stack, accepted := m.arrange(layers)
	fallBack(stack, accepted)
	p := m.pass(stack)
	need := p.memory(true)
	var most int64
	for i, v := range accepted {
		if v == nil || stack[i].read { // it is known which of the two is used
			continue
		}
		v.entries(func(e *entry) {
			if !e.read {
				need += perByte * int64(len(e.file.Data))
				most = max(most, e.cost(true))
			}
		})
	}
	return need + most
}

// memory is about how much memory the pass takes; fresh, for what it has yet to
// decode, else as if nothing was decoded.
func (p *pass) memory(fresh bool) int64 {
	var keep, most int64
	changed := !fresh // there is a schema that is new
	for _, v := range p.stack {
		v.entries(func(e *entry) {
			if fresh && e.read {
				return
			}
			keep += perByte * int64(len(e.file.Data))
			if e.role == schemaFile {
				changed = true
				keep += e.cost(true) + schema.Memory(e.marks) // it is kept in its compiled form
			}
		})
		for _, e := range v.extra {
			if !fresh || !e.read {
				most = max(most, e.costOfTree(false))
			}
		}
	}
	for i := range p.combos {
		c := &p.combos[i]
		checked := c.schema != nil
		if redo := !fresh || changed && checked; !redo && !p.stale(c) {
			continue
		}
		var all int64
		for _, e := range c.parts {
			all += e.costOfTree(checked)
		}
		most = max(most, all)
	}
	return keep + most
}

// costOfTree is cost, of documents only.
func (e *entry) costOfTree(checked bool) int64 {
	if e.role != document {
		return 0
	}
	return e.cost(checked)
}
