/// One place where bytes come in from outside. Whatever they are it must return or throw its typed error: a crash, a trap or
/// a broken promise (`check`) is a finding.
struct FuzzTarget: Sendable {
  var name: String
  /// The first inputs, where a program makes them better than a hand; others lie in Tests/Fuzz/seeds.
  var seeds: @Sendable () throws -> [[UInt8]] = { [] }
  var run: @Sendable (_ bytes: [UInt8]) -> Void

  static func check(_ promise: Bool, _ what: @autoclosure () -> String) {
    if !promise { fatalError(what()) }
  }
}

let allTargets = [
  wireTarget, sectionTarget, machineTarget, definitionTarget, controlTarget, telnetTarget, imageTarget, qcow2Target,
  decoderTarget, frameTarget, forwardTarget, receptionTarget, screenTarget,
]
