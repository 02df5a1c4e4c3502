package main

import (
	"github.com/statesync/statesync/bench/peers/match"
	"github.com/statesync/statesync/bench/peers/reading"
	"github.com/statesync/statesync/bench/peers/report"
	"github.com/statesync/statesync/bench/peers/scaling"
	"github.com/statesync/statesync/bench/peers/visible"
)

// sections are the parts of the document, in its order.
var sections = []report.Section{
	reading.Section{},
	visible.Section{},
	match.Section{},
	scaling.Section{},
}
