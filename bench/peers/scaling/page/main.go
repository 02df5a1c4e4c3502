// Page writes what a run of the comparison found about scaling into
// docs/SCALING.md, between the two comments that say so there.
//
//	cd bench/peers && go run ./scaling/page
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/statesync/statesync/bench/page"
	"github.com/statesync/statesync/bench/peers/report"
	"github.com/statesync/statesync/bench/peers/scaling"
)

// The comments around what is written.
const (
	begin = "<!-- begin: written by bench/peers/scaling/page, from bench/results.json -->\n"
	end   = "<!-- end -->\n"
)

func main() {
	results := flag.String("results", "..", "the `folder` of results.json")
	file := flag.String("page", filepath.Join("..", "..", "docs", "SCALING.md"), "the `file` to write into")
	charts := flag.String("charts", "../bench/charts", "the `folder` of the charts, as the page refers to it")
	flag.Parse()
	if err := write(*results, *file, *charts); err != nil {
		fmt.Fprintln(os.Stderr, "page:", err)
		os.Exit(1)
	}
}

func write(results, file, charts string) error {
	r, err := report.Load(results)
	if err != nil {
		return err
	}
	name := scaling.Section{}.Name()
	measured := r.Sections[name]
	if measured == nil {
		fmt.Printf("%s stays as it is: %s has no results of the section %s; measure it with: go run . --only %s\n", file, results, name, name)
		return nil
	}
	block, err := scaling.Block(measured.Raw, charts)
	if err != nil {
		return err
	}
	return page.Write(file, begin, end, measured.Origin()+"\n"+block)
}
