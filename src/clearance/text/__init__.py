"""Text from outside, made safe for whoever reads it.

rendering     what people see of it: payload, command, pages
lookalikes    letters that pose as others
confusables   which can be taken for which
namesakes     people whose names look alike
"""
