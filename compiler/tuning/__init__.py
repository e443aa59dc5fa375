"""Tuning: finds the rule and the sizes that compute each workload fastest, and remembers them.

tasks      models -> distinct workloads with their constants
space      a workload -> every rule and every value of its knobs that can compute it
search     what to measure next: grid, random, or evolutionary under a learned cost model
measure    candidates -> costs, each checked against the reference first
tuner      the loop over all of these
records    what was found, as lines of JSON
lookup     records -> what the compiler takes for each node of a graph
"""
