import X86

/// Traces of what the CPUs do.
extension VirtualMachine {
  /// Writes down what happens from here on, in place of what was written down before. Nothing of it is the guest's: states
  /// and streams do not carry it.
  /// - Parameters:
  ///   - descriptor: a file, then the trace's own.
  ///   - compresses: as zstd.
  ///   - onEnd: is told once, from any thread, that nothing more will be written.
  public func startTrace(
    _ request: TraceRequest, to descriptor: Int32, compresses: Bool, onEnd: @escaping @Sendable (TraceEnd) -> Void
  ) {
    let new = ExecutionTrace(request, to: descriptor, compresses: compresses) { [weak self] end in
      onEnd(end)
      // A CPU's thread cannot wait for itself to rest.
      self?.detachTrace()
    }
    replaceTrace(new)
  }

  /// Ends the trace. False when there is none, or it had ended by itself.
  public func stopTrace() -> Bool { replaceTrace(nil) }

  /// - Returns: whether it has ended one.
  @discardableResult
  private func replaceTrace(_ new: ExecutionTrace?) -> Bool {
    let old = whileCPUsRest { () -> ExecutionTrace? in
      let old = board.environments.first?.trace
      for (cpu, environment) in zip(board.cpus, board.environments) {
        environment.trace = new
        cpu.tracesInstructions = new?.request.kinds.contains(.instructions) ?? false
      }
      return old
    }
    guard let old, !old.isEnded else { return false }
    old.finish()
    return true
  }

  /// The one that has ended costs nothing any more.
  private func detachTrace() {
    later { vm in
      vm.whileCPUsRest {
        for (cpu, environment) in zip(vm.board.cpus, vm.board.environments) where environment.trace?.isEnded == true {
          environment.trace = nil
          cpu.tracesInstructions = false
        }
      }
    }
  }
}
