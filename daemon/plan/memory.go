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
		for _, e := range v.unread {
			if !e.read {
				need += perByte * int64(len(e.file.Data))
				most = max(most, e.cost(true))
			}
		}
	}
	return need + most
}

// memory is about how much memory the pass takes; fresh, for what it has yet to
// decode, else as if nothing was decoded.
func (p *pass) memory(fresh bool) int64 {
	var keep, most int64
	changed := !fresh // there is a schema that is new
	schemaFiles := func(list []*entry) {
		for _, e := range list {
			if e.role == schemaFile && (!fresh || !e.read) {
				changed = true
				keep += e.cost(true) + schema.Memory(e.marks) // it is kept in its compiled form
			}
		}
	}
	for _, v := range p.stack {
		if fresh {
			for _, e := range v.unread {
				if !e.read {
					keep += perByte * int64(len(e.file.Data))
				}
			}
		} else {
			keep += perByte * v.bytes
		}
		schemaFiles(v.schemas)
		schemaFiles(v.extra)
		for _, e := range v.extra {
			if !fresh || !e.read {
				most = max(most, e.costOfTree(false))
			}
		}
	}
	for _, c := range p.combos {
		if !fresh || changed && c.schema != nil || p.stale(c) {
			most = max(most, c.cost())
		}
	}
	return keep + most
}

// cost is about how much memory the trees of the config take, in bytes.
func (c *combo) cost() int64 {
	if c.memory < 0 {
		c.memory = 0
		for _, e := range c.parts {
			c.memory += e.costOfTree(c.schema != nil)
		}
	}
	return c.memory
}

// costOfTree is cost, of documents only.
func (e *entry) costOfTree(checked bool) int64 {
	if e.role != document {
		return 0
	}
	return e.cost(checked)
}
