"""Losses: functions of tensors; networks come in as arguments."""
