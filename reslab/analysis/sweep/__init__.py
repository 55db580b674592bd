"""Several networks trained under the same terms, with several seeds each, as one study.

runs/NAME-seedN/   each an ordinary run
test.json          the test error of every run after every epoch; nothing is chosen by it
results.json       what is shown: training and test error by step, run by run
"""
