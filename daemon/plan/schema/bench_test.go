package schema_test

import (
	"fmt"
	"testing"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/plan/plantest"
	"github.com/statesync/statesync/daemon/source"
)

// sharing are n configs, the schema of each of which is a reference to one of 0.95 MB.
func sharing(n int) []*source.File {
	files := []string{"shared.schema.json", `{"$defs": {` + plantest.Repeated(4_900, `"d%": {"type": "string", "description": "`+fmt.Sprintf("%0150d", 0)+`"}`) + `}}`}
	for i := range n {
		files = append(files, fmt.Sprintf("c%d.json", i), `{"a": 1}`, fmt.Sprintf("c%d.schema.json", i), `{"$ref": "shared.schema.json"}`)
	}
	return plantest.Files(files...)
}

func BenchmarkSharedSchema(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint("configs=", n), func(b *testing.B) {
			b.ReportAllocs()
			in := sharing(n)
			for b.Loop() {
				if r := made(plan.New(plan.Options{}), in); r.Err() != nil {
					b.Fatal(r.Err())
				}
			}
		})
	}
}
