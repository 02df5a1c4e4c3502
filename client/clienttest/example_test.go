//go:build unix

package clienttest_test

import (
	"fmt"
	"os"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

// Matchmaker is what an application has in its config "matchmaker".
type Matchmaker struct {
	Elo int `json:"elo"`
}

// Service is the application.
type Service struct {
	matchmaker *client.Binding[Matchmaker]
}

// NewService binds what it reads.
func NewService(c *client.Client) *Service {
	return &Service{matchmaker: client.Bind[Matchmaker](c, "matchmaker")}
}

// Admit is one of the service's requests.
func (s *Service) Admit(elo int) bool { return elo >= s.matchmaker.Get().Elo }

// A test publishes what it needs into a private region. When Set returns, the
// service has the new value.
func Example() {
	t := newExampleT() // a test has its own
	defer t.end()

	region := clienttest.New(t)
	region.Publish(map[string]any{"matchmaker": Matchmaker{Elo: 1500}})
	service := NewService(region.Client())
	fmt.Println(service.Admit(1550))

	region.Set("matchmaker", Matchmaker{Elo: 1600})
	fmt.Println(service.Admit(1550))
	// Output:
	// true
	// false
}

// exampleT stands for the *testing.T that an example does not have.
type exampleT struct {
	recorder
	temp string
}

func newExampleT() *exampleT {
	temp, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	return &exampleT{temp: temp}
}

// TempDir is removed in the end.
func (t *exampleT) TempDir() string { return t.temp }

func (t *exampleT) end() {
	t.cleanUp()
	if err := os.RemoveAll(t.temp); err != nil {
		t.Error(err)
	}
	for _, failure := range t.failures {
		fmt.Println(failure)
	}
}
