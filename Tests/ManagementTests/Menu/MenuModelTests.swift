import Foundation
import Testing

@testable import Management

/// A host with machines of these names, as the menu gets it.
func menuList(
  _ names: [String], live: Set<String> = [], services: Set<String> = [], protections: [String: ProtectionStatus] = [:]
) -> ServiceList {
  let host = ServiceList.HostFacts(bootTime: Date(timeIntervalSince1970: 0), cpus: 2, freeMB: 100, totalMB: 200)
  let rows = names.map { name in
    ServiceList.Row(
      name: name, isCurrent: false, configuration: "/h/\(name)", cpus: "1", memoryMB: 32,
      state: live.contains(name) ? .active : .inactive, machineState: live.contains(name) ? .running : .poweroff,
      uptimeSeconds: live.contains(name) ? 65 : nil, model: "m", description: "",
      service: services.contains(name) ? "user" : "-", startsOnBoot: false, stopScript: "Case not set", preStart: [],
      consolePorts: [], log: "/h/\(name)/log", interfaces: [], protection: protections[name])
  }
  return ServiceList(host: host, machines: rows, problems: [])
}

extension MenuModel {
  /// Takes keys, letters as they are.
  /// - Returns: what the last one has led to.
  @discardableResult
  mutating func type(_ keys: MenuKey...) -> [MenuEffect] {
    keys.reduce([]) { take(.key($1)) }
  }
  mutating func type(text: String) { for letter in text { _ = take(.key(.character(letter))) } }
}

@Suite struct MenuModelTests {
  private func model(
    _ names: [String] = ["a", "b", "c"], live: Set<String> = ["b"], services: Set<String> = ["b", "c"]
  )
    -> MenuModel
  {
    MenuModel(menuList(names, live: live, services: services))
  }

  @Test func arrowsChooseAndStayWithinTheList() {
    var model = model()
    #expect(model.selected == "a")
    model.type(.up)
    #expect(model.selected == "a")
    model.type(.down, .down, .down)
    #expect(model.selected == "c")
    model.type(.home)
    #expect(model.selected == "a")
    model.type(.end)
    #expect(model.selected == "c")
  }

  @Test func aMachineStaysChosenWhenOthersComeAndTheNextOneWhenItGoes() {
    var model = model()
    model.type(.down)
    _ = model.take(.list(menuList(["0", "a", "b", "c"])))
    #expect(model.selected == "b")
    _ = model.take(.list(menuList(["0", "a", "c"])))
    #expect(model.selected == "c")
    _ = model.take(.list(menuList([])))
    #expect(model.selected == nil)
    #expect(model.type(.down, .up, .enter, .escape, .character("s")) == [])
    #expect(model.message?.contains("a adds one") == true)
  }

  @Test func whatIsChosenIsOnTheScreen() {
    let names = (0..<50).map { "m\($0 + 10)" }
    var model = model(names)
    for (columns, rows) in [(80, 24), (40, 10), (132, 60)] {
      _ = model.take(.size(columns: columns, rows: rows))
      for key in [MenuKey.end, .pageUp, .home, .pageDown, .down, .up, .end] {
        model.type(key)
        let place = names.firstIndex(of: model.selected ?? "") ?? -1
        #expect((model.top..<model.top + model.room).contains(place), "\(key) at \(columns) x \(rows)")
      }
    }
  }

  @Test func aStartIsDoneAtOnceAndOneAtATime() {
    var model = model()
    #expect(model.type(.character("s")) == [.run(.start("a"))])
    #expect(model.type(.down, .down, .character("s")) == [])
    #expect(model.message?.contains("not done yet") == true)
    _ = model.take(.progress("half"))
    #expect(model.work?.progress == "half")
    #expect(model.take(.done("it runs")) == [.refresh])
    #expect(model.message == "it runs" && model.work == nil)
    #expect(model.type(.character("s")) == [.run(.start("c"))])
    #expect(model.take(.failed("no room")) == [.refresh])
    #expect(model.message == "no room" && model.isMessageBad)
  }

  @Test func whatARunningMachineNeedsIsRefusedOfOthersAndTheOtherWayRound() {
    var model = model()
    for letter in "tcmbv" {
      #expect(model.type(.character(letter)) == [])
      #expect(model.message == "\"a\" does not run: s starts it")
    }
    model.type(.down)
    #expect(model.type(.character("s")) == [])
    #expect(model.message == "\"b\" runs already")
    #expect(model.type(.character("d")) == [])
    #expect(model.message == "\"b\" runs: t stops it")
    #expect(model.type(.character("c")) == [.console("b")])
  }

  /// A key that is pressed too often must not do harm: the first answer loses nothing.
  @Test(arguments: ["d", "t", "v"]) func whatLosesSomethingIsAskedFirst(letter: Character) {
    var model = model(["b"], live: letter == "d" ? [] : ["b"])
    #expect(model.type(.character(letter)) == [])
    #expect(model.page != nil)
    #expect(model.type(.enter) == [] && model.page == nil && model.work == nil)
    model.type(.character(letter))
    #expect(model.type(.escape) == [] && model.page == nil)
    model.type(.character(letter))
    #expect(model.type(.character("n")) == [] && model.page == nil)
    let operation: [Character: MenuOperation] = [
      "d": .removeService("b"), "t": .stop("b"), "v": .end("b", .savestate),
    ]
    model.type(.character(letter))
    #expect(model.type(.down, .enter) == [operation[letter].map { MenuEffect.run($0) }])
    #expect(model.work?.operation == operation[letter])
  }

  @Test func aMachineWithoutAServiceIsStoppedAsOneChooses() {
    var model = model(["a"], live: ["a"], services: [])
    model.type(.character("t"))
    #expect(model.type(.enter) == [])
    for (number, mode) in [("2", ServiceSettings.StopMode.savestate), ("3", .acpi), ("4", .poweroff)] {
      model.type(.character("t"))
      #expect(model.type(.character(Character(number))) == [.run(.end("a", mode))])
      _ = model.take(.done(""))
    }
    model.type(.character("t"))
    #expect(model.type(.character("5")) == [] && model.page != nil)
    #expect(model.type(.escape, .character("p")) == [])
    #expect(model.message?.contains("a makes it one") == true)
  }

  @Test func theListOfActionsDoesWhatTheLettersDo() {
    for (index, action) in MenuAction.allCases.enumerated() {
      var byLetter = model()
      byLetter.type(.down)
      var byArrows = byLetter
      let effects = byLetter.type(.character(action.rawValue))
      byArrows.type(.enter)
      for _ in 0..<index { byArrows.type(.down) }
      #expect(byArrows.type(.enter) == effects)
      #expect(byArrows.page == byLetter.page && byArrows.message == byLetter.message, "\(action)")
    }
  }

  @Test func aFormTakesWhatIsRightAndSaysWhatIsNot() {
    var model = model([])
    model.type(.character("a"))
    model.type(.enter, .enter, .enter, .enter, .enter)
    guard case .form(let empty)? = model.page else { return #expect(Bool(false), "the form is gone") }
    #expect(empty.complaint == "Name: fill it in" && empty.focus == 0)
    model.type(text: "boxx")
    model.type(.backspace, .down, .control("u"), .character("x"), .tab, .right, .enter, .enter)
    #expect(model.type(.enter) == [])
    guard case .form(let wrong)? = model.page else { return #expect(Bool(false), "the form is gone") }
    #expect(wrong.complaint == "Memory in MB, of a new one: a number from 1 to 16777216" && wrong.focus == 1)
    model.type(.backspace)
    model.type(text: "64")
    model.type(.enter, .enter, .enter)
    let addition = MenuOperation.Addition(
      name: "box", memoryMB: 64, autoboot: true, restart: true, stopMode: .savestate)
    #expect(model.type(.enter) == [.run(.add(addition))])
  }

  @Test func aTeleportIsAskedForAndCanBeEnded() {
    var model = model(["b"])
    model.type(.character("m"))
    model.type(text: "[::1]")
    model.type(.enter)
    model.type(text: "6000")
    model.type(.enter)
    model.type(text: "secret")
    let shown = MenuScreen(model, columns: TextColumns { _ in 1 }).lines.map(\.text).joined()
    #expect(shown.contains("******") && !shown.contains("secret"))
    model.type(.enter)
    var wish = TeleportRequest(host: "::1", port: 6000)
    wish.password = "secret"
    #expect(model.type(.enter) == [.run(.teleport("b", wish))])
    model.type(.escape)
    #expect(model.type(.character("y")) == [.cancel])
    model.type(.character("q"))
    #expect(model.type(.enter) == [], "leaving while something is done is asked, too")
    model.type(.character("q"))
    #expect(model.type(.character("y")) == [.quit])
  }

  @Test func aProtectionIsAskedForByItsForm() {
    var model = model(["b"])
    model.type(.character("b"))
    model.type(text: "h")
    model.type(.enter, .control("u"))
    model.type(text: "6001")
    model.type(.enter)
    model.type(text: "zookeeper")
    model.type(.enter, .enter)
    guard case .form(let wrong)? = model.page else { return #expect(Bool(false), "the form is gone") }
    #expect(wrong.complaint?.hasPrefix("\"zookeeper\" is no witness; give file:PATH") == true && wrong.focus == 2)
    model.type(.control("u"))
    model.type(text: "file:/w")
    model.type(.enter)
    model.type(text: "/secret")
    var wish = MenuOperation.Protection(host: "h", port: 6001, witness: "file:/w", passwordFile: "/secret")
    #expect(model.type(.enter) == [.run(.protect("b", wish))])
    #expect(model.type(.character("q")) == [])
    guard case .question(let leave)? = model.page else { return #expect(Bool(false), "nothing is asked") }
    #expect(leave.text.contains("It goes on without the menu"))
    model.type(.escape)
    model.type(.escape)
    #expect(model.type(.character("y")) == [.cancel])
    #expect(model.take(.failed("no")) == [.refresh])
    // Without a witness it is asked first.
    model.type(.character("b"))
    model.type(text: "h")
    model.type(.enter, .enter)
    model.type(text: "none")
    #expect(model.type(.enter, .enter) == [])
    #expect(model.type(.enter) == [] && model.page == nil && model.work == nil)
    model.type(.character("b"))
    model.type(text: "h")
    model.type(.enter, .enter)
    model.type(text: "none")
    model.type(.enter, .enter)
    wish = .init(host: "h", port: 6000, witness: "none", passwordFile: nil)
    #expect(model.type(.character("y")) == [.run(.protect("b", wish))])
  }

  /// What there is to do about each, by the numbers of the choices; the first does nothing.
  @Test func aProtectionIsShownHandedOverAndEnded() {
    let (end, over) = (MenuOperation.unprotect("b", force: false), MenuOperation.handOver("b"))
    let cases: [(ProtectionStatus, [MenuEffect])] = [
      (.init(.synchronizing, .primary, peer: "h port 1"), [.run(end)]),
      (.init(.synchronizing, .backup, peer: "h"), []),
      (.init(.protected, .primary, peer: "h port 1"), [.run(over), .run(end)]),
      (.init(.standby, .backup, peer: "h"), [.run(over)]),
      (.init(.deciding, .primary, peer: "h port 1"), [.run(.unprotect("b", force: true))]),
      (.init(.deciding, .backup, peer: "h"), []),
    ]
    for (status, effects) in cases {
      for (number, effect) in ([nil, .read(.protection("b"))] + effects.map { $0 as MenuEffect? }).enumerated() {
        var model = MenuModel(menuList(["b"], live: ["b"], protections: ["b": status]))
        #expect(model.type(.character("b")) == [])
        #expect(model.type(.character(Character(String(number + 1)))) == [effect].compactMap { $0 }, "\(status)")
        #expect(model.page == nil)
      }
      var model = MenuModel(menuList(["b"], live: ["b"], protections: ["b": status]))
      #expect(model.type(.character("b"), .enter) == [] && model.page == nil && model.work == nil)
      model.type(.character("b"))
      #expect(model.type(.character(Character(String(effects.count + 3)))) == [] && model.page != nil)
    }
    // One that is missed is begun anew, or given up.
    let missed = ProtectionStatus(.unprotected, .primary, peer: "h port 1", reason: "the backup is lost")
    var model = MenuModel(menuList(["b"], live: ["b"], protections: ["b": missed]))
    #expect(model.type(.character("b"), .character("3")) == [])
    #expect(model.page == .form(.protect("b")))
    model.type(.escape)
    #expect(model.type(.character("b"), .character("4")) == [.run(end)])
    _ = model.take(.done(""))
    // What is shown is another text a moment later, and stays where one reads.
    #expect(model.type(.character("b"), .character("2")) == [.read(.protection("b"))])
    let lines = (0..<100).map { "line \($0)" }
    _ = model.take(.text(.protection("b"), lines))
    model.type(.down)
    #expect(model.take(.tick) == [.read(.protection("b"))])
    _ = model.take(.text(.protection("b"), lines))
    guard case .text(let text)? = model.page else { return #expect(Bool(false), "no text") }
    #expect(text.top == 1 && !text.follows)
    #expect(model.type(.character("o")) == [])
  }

  @Test func whatWaitsForItsTeleportIsNotProtected() {
    var list = menuList(["b"], live: ["b"])
    list.machines[0].machineState = .teleportingin
    var model = MenuModel(list)
    #expect(model.type(.character("b")) == [] && model.page == nil)
    #expect(model.message == "\"b\" is teleportingin: one that runs can be protected")
  }

  @Test func aBadDefinitionIsEditedAgainOrDropped() {
    var model = model()
    #expect(model.type(.character("e")) == [.edit(.definition, "a", again: false)])
    #expect(model.take(.badEdit(.definition, "a", "line 3")) == [])
    #expect(model.type(.enter) == [.edit(.definition, "a", again: true)])
    _ = model.take(.badEdit(.definition, "a", "line 3"))
    #expect(model.type(.escape) == [.dropEdit(.definition, "a")])
    #expect(model.page == nil)
  }

  @Test func aLogIsReadFromItsEndAndFollowedThere() {
    var model = model()
    #expect(model.type(.character("l")) == [.read(.log("a", 0))])
    let lines = (0..<100).map { "line \($0)" }
    _ = model.take(.text(.log("a", 0), lines))
    guard case .text(let text)? = model.page else { return #expect(Bool(false), "no text") }
    #expect(text.top == 78 && text.follows)
    #expect(model.take(.tick) == [.read(.log("a", 0))])
    _ = model.take(.text(.log("a", 0), lines + ["new"]))
    guard case .text(let longer)? = model.page else { return #expect(Bool(false), "no text") }
    #expect(longer.top == 79)
    model.type(.pageUp)
    #expect(model.take(.tick) == [.refresh], "who looks at older lines keeps them")
    _ = model.take(.text(.log("a", 0), lines + ["new", "newer"]))
    guard case .text(let kept)? = model.page else { return #expect(Bool(false), "no text") }
    #expect(kept.top == 57)
    #expect(model.type(.character("o")) == [.read(.log("a", 1))])
    #expect(model.type(.character("n")) == [])
    #expect(model.type(.character("q")) == [.refresh] && model.page == nil)
  }

  @Test func anyKeysInAnyOrderLeaveItWhole() {
    var random = SystemRandomNumberGenerator()
    let keys: [MenuKey] =
      [
        .up, .down, .left, .right, .pageUp, .pageDown, .home, .end, .enter, .escape, .backspace, .tab, .control("c"),
        .control("l"), .control("u"), .character("é"), .character("1"), .character("4"), .character("y"),
        .character("n"),
      ] + MenuAction.allCases.filter { $0 != .leave }.map { .character($0.rawValue) }
    for _ in 0..<200 {
      var model = model(["a", "b"], live: ["a"], services: ["a"])
      for _ in 0..<200 {
        switch Int.random(in: 0..<12, using: &random) {
        case 0: _ = model.take(.size(columns: .random(in: 1...100), rows: .random(in: 1...40)))
        case 1: _ = model.take(.list(menuList(Bool.random() ? [] : ["b", "x"], live: ["x"])))
        case 2: _ = model.take(.done("done"))
        case 3: _ = model.take(.text(.log("a", 0), Array(repeating: "x", count: .random(in: 0...60))))
        default: model.type(keys.randomElement(using: &random) ?? .up)
        }
        let screen = MenuScreen(model, columns: TextColumns { $0 == "é" ? 2 : 1 })
        #expect(screen.lines.count == model.rows)
        if let cursor = screen.cursor { #expect(cursor.row < model.rows && cursor.column < model.columns) }
      }
    }
  }
}
