// Package check holds the tests of what is in deploy. It is a module of its own,
// so that Kubernetes' and Prometheus' libraries are no part of the service's.
package check
