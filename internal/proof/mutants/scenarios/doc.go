// Package scenarios has the runs of a pod in which the planted bugs of package mutants show: each
// scenario is made for some of them, and passes where none is planted.
package scenarios
