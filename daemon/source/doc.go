// Package source yields whole revisions of configuration.
package source
