package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// choice is a flag that is one of a few words.
type choice struct {
	word  string
	words []string
}

func (c *choice) String() string { return c.word }

// Type is what the help shows in the place of the value.
func (c *choice) Type() string { return strings.Join(c.words, "|") }

func (c *choice) Set(word string) error {
	if !slices.Contains(c.words, word) {
		return fmt.Errorf("it is one of %s", strings.Join(c.words, ", "))
	}
	c.word = word
	return nil
}

// output adds the flag -o to a command. The first word is the default.
func output(cmd *cobra.Command, words ...string) *choice {
	c := &choice{word: words[0], words: words}
	cmd.Flags().VarP(c, "output", "o", "how to print it")
	// This fails for a flag that is unknown or has one already.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// users is a flag with numbers of users, separated by commas, that may be given
// often.
type users []int

func (u *users) String() string {
	words := make([]string, len(*u))
	for i, uid := range *u {
		words[i] = strconv.Itoa(uid)
	}
	return strings.Join(words, ",")
}

// Type is what the help shows in the place of the value.
func (u *users) Type() string { return "number" }

func (u *users) Set(list string) error {
	for field := range strings.SplitSeq(list, ",") {
		uid, err := strconv.ParseUint(strings.TrimSpace(field), 10, 32)
		if err != nil {
			return fmt.Errorf("it must be numbers of users, separated by commas")
		}
		*u = append(*u, int(uid))
	}
	return nil
}
