import Foundation
import Testing

@testable import X86

/// Runs programs in the interpreter and in the translator and compares everything at every fault, interrupt and end.
final class PagedLockstep {
  private let interpreter: PagedMachine
  private let translator: PagedMachine
  /// What happened, so that a test can see that its programs were of the right kind.
  private(set) var stops = [Int: Int]()
  private(set) var programs = 0
  private(set) var instructions: UInt64 = 0

  init() throws {
    interpreter = try PagedMachine(.interpreter)
    translator = try PagedMachine(.translator)
  }

  /// The first difference, nil when there is none. A program that has written over its own code may run instructions that
  /// leave flags undefined: it ends where these are seen.
  func difference(_ program: PagedProgram) -> String? {
    let image = program.image
    interpreter.begin(program, image)
    translator.begin(program, image)
    var looks = 0
    for (turn, (budget, interrupts)) in program.turns.enumerated() {
      let end = interpreter.cpu.s.pointee.instructions + UInt64(budget)
      while interpreter.cpu.s.pointee.instructions < end && looks < 80 {
        looks += 1
        let left = Int(end - interpreter.cpu.s.pointee.instructions)
        var first = interpreter.run(budget: left)
        var second = translator.run(budget: left)
        if program.patience == 0 { align(&first, &second) }
        let place = "turn \(turn), look \(looks)"
        translator.scatter(program.blocks.count &* 31 &+ looks)
        if first != second {
          return "\(place): ended by \(first), \(interpreter.frame(first)), and \(second), \(translator.frame(second))"
        }
        if let found = interpreter.difference(translator) {
          if interpreter.differsInFlagsAlone(translator), interpreter.codeIsChanged(image) { return nil }
          return "\(place), \(first): \(found)"
        }
        switch first {
        case .exception(let vector):
          stops[vector, default: 0] += 1
          interpreter.goOn(after: vector, labels: image.labels)
          translator.goOn(after: vector, labels: image.labels)
        case .budget: break
        case .other: return nil
        }
      }
      if interrupts {
        interpreter.interrupt()
        translator.interrupt()
      }
    }
    return nil
  }

  /// After STI blocks begin where it suits each, and so do turns end: whoever is behind goes on.
  private func align(_ first: inout PagedMachine.Stop, _ second: inout PagedMachine.Stop) {
    for _ in 0..<200 {
      let (one, other) = (interpreter.cpu.s.pointee.instructions, translator.cpu.s.pointee.instructions)
      if first == .budget && second == .budget && one == other {
        // A fault that is delivered counts for nothing.
        if interpreter.cpu.s.pointee.rip == translator.cpu.s.pointee.rip { return }
        first = interpreter.run(budget: 1)
        second = translator.run(budget: 1)
      } else if first == .budget && (one < other || second != .budget) {
        first = interpreter.run(budget: max(1, Int(bitPattern: UInt(other &- one))))
      } else if second == .budget && (other < one || first != .budget) {
        second = translator.run(budget: max(1, Int(bitPattern: UInt(one &- other))))
      } else {
        return
      }
    }
  }

  var summary: String {
    let vectors = stops.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", ")
    let now = translatorStatistics
    return
      "\(programs) programs, \(instructions) instructions, \(now.blocks) blocks translated (\(now.regions) regions), \(now.entries) entries, "
      + "\(now.steps) interpreted within; stops by vector \(vectors)"
  }

  /// Bytes where programs count what they have come by: see `NeighbourProgram`.
  func marks(_ count: Int) -> [UInt8] {
    (0..<count).map { interpreter.memory.read(Self.marks + UInt64($0), as: UInt8.self) }
  }

  func clearMarks(_ count: Int) {
    for machine in [interpreter, translator] {
      for index in 0..<count { machine.memory.write(Self.marks + UInt64(index), UInt8(0)) }
    }
  }

  private static let marks = PagedMachine.frame(3) + NeighbourProgram.marks

  var translatorStatistics: TranslatorStatistics { translator.cpu.translatorStatistics ?? TranslatorStatistics() }

  /// Reports the smallest program that still differs.
  func compare(_ program: PagedProgram) -> Bool {
    guard difference(program) != nil else {
      programs += 1
      instructions += interpreter.cpu.s.pointee.instructions
      return true
    }
    var smallest = program
    func attempt(_ change: (inout PagedProgram) -> Void) -> Bool {
      var fewer = smallest
      change(&fewer)
      guard difference(fewer) != nil else { return false }
      smallest = fewer
      return true
    }
    for _ in 0..<2 {
      while smallest.turns.count > 1, attempt({ $0.turns.removeLast() }) {}
      for block in smallest.blocks.indices {
        var piece = 0
        while piece < smallest.blocks[block].pieces.count {
          if !attempt({ $0.blocks[block].pieces.remove(at: piece) }) { piece += 1 }
        }
        _ = attempt { $0.blocks[block].exit = .fallThrough }
      }
      while smallest.blocks.count > 1, attempt({ $0.blocks.removeLast() }) {}
    }
    Issue.record("\(difference(smallest) ?? "")\n\(smallest.text)")
    return false
  }
}

@Suite(.serialized) struct PagedLockstepTests {
  /// Seeds are kept: a failure repeats. `VMCTL_LOCKSTEP_PROGRAMS` and `VMCTL_LOCKSTEP_SEED` run more, and others.
  private func run(_ seed: UInt64, compat: Bool, pages: Bool) throws -> PagedLockstep {
    let environment = ProcessInfo.processInfo.environment
    let programs = environment["VMCTL_LOCKSTEP_PROGRAMS"].flatMap { Int($0) } ?? 100
    let other = environment["VMCTL_LOCKSTEP_SEED"].flatMap { UInt64($0) } ?? 0
    var generator = try PagedGenerator(seed: seed &+ other &* 1000, compat: compat, pages: pages)
    let lockstep = try PagedLockstep()
    var failures = 0
    for _ in 0..<programs where failures < 3 {
      if !lockstep.compare(generator.program()) { failures += 1 }
    }
    if environment["VMCTL_LOCKSTEP_PROGRAMS"] != nil { print(lockstep.summary) }
    return lockstep
  }

  @Test(arguments: [41, 42, 43] as [UInt64], [false, true])
  func blocksThatBranchToEachOtherLeaveTheSameFlagsEverywhere(seed: UInt64, compat: Bool) throws {
    let lockstep = try run(seed, compat: compat, pages: false)
    #expect(lockstep.translatorStatistics.entries > 0)
    #expect(lockstep.stops[6, default: 0] > 0 && lockstep.stops[PagedMachine.interruptVector, default: 0] > 0)
  }

  @Test(arguments: [51, 52, 53] as [UInt64], [false, true])
  func programsRunAlikeWhilePagesChangeUnderThem(seed: UInt64, compat: Bool) throws {
    let lockstep = try run(seed, compat: compat, pages: true)
    #expect(lockstep.stops[14, default: 0] > 100)
  }
}
